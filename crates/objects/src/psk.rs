//! PSK: a pre-shared key.

use base::Secret;
use schema::kind::{SecretHex, SecretText};
use schema::{Object, Problem, choice, object};

object! {
    /// A pre-shared key: a secret that both ends of a tunnel know. The command `pskgen` makes a random one.
    pub struct Psk: "PSK" {
        columns: &["Type"],
    }

    /// How the key is written.
    default form as "Type": Form = "ASCII";
    /// The key as text, in UTF-8. Peers on other platforms may encode letters beyond ASCII differently.
    needed ascii as "PSKAscii": SecretText where "Type" = "ASCII";
    /// The key as hexadecimal digits, two for each byte.
    needed hex as "PSKHex": SecretHex where "Type" = "HEX";
}

choice! {
    /// How a key is written.
    pub enum Form {
        /// As text.
        Ascii = "ASCII",
        /// As hexadecimal digits.
        Hex = "HEX",
    }
}

/// Bytes below which a random key can be found by trying, and text below which it can be guessed.
const HEX_MIN: usize = 8;
const ASCII_MIN: usize = 20;

impl Psk {
    /// The key's bytes.
    pub fn secret(&self) -> Option<Secret> {
        match self.form {
            Form::Ascii => self.ascii.clone(),
            Form::Hex => self.hex.clone(),
        }
    }

    /// What is weak about the key.
    pub fn weakness(&self, object: &Object) -> Option<Problem> {
        let (property, min, what) = match self.form {
            Form::Ascii => ("PSKAscii", ASCII_MIN, "characters of text"),
            Form::Hex => ("PSKHex", HEX_MIN, "bytes"),
        };
        let length = self.secret()?.len();
        (length < min).then(|| {
            Problem::warning(format!("the key has {length} {what}; under {min} it can be found by trying"))
                .property(property)
                .remedy("make a random key with \"pskgen\" and use it at both ends")
                .at(object.place(property))
        })
    }
}
