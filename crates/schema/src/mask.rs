//! What stands in for a secret wherever text is shown.

/// Shown instead of a secret that is set.
pub const MASK: &str = "********";

/// A line of configuration with the values of secret properties replaced by stars, character by character so that
/// columns stay. A property is taken for secret by its name alone: the line may be part of a command that is wrong.
pub fn line(line: &str, is_secret: impl Fn(&str) -> bool) -> String {
    let mut chars: Vec<char> = line.chars().collect();
    let mut at = 0;
    let mut name = String::new();
    while let Some(&c) = chars.get(at) {
        at += 1;
        if c == '=' && is_secret(&name) {
            at = stars(&mut chars, at);
        }
        if c.is_alphanumeric() || matches!(c, '_' | '-' | '.') { name.push(c) } else { name.clear() }
    }
    chars.into_iter().collect()
}

/// Stars from `from` to the end of the value; tells where that is.
fn stars(chars: &mut [char], from: usize) -> usize {
    let (mut quoted, mut escaped, mut begun) = (false, false, false);
    for (at, c) in chars.iter_mut().enumerate().skip(from) {
        match *c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            space if space.is_whitespace() && !quoted => {
                if begun {
                    return at;
                }
                continue;
            }
            _ => {}
        }
        begun = true;
        *c = '*';
    }
    chars.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_is_hidden_and_columns_stay() {
        let secret = |name: &str| name.eq_ignore_ascii_case("Key");
        assert_eq!(line("add A b Key=\"x y\\\" z\" Other=1", secret), "add A b Key=********* Other=1");
        assert_eq!(line("key= abc", secret), "key= ***");
        assert_eq!(line("Monkey=abc", secret), "Monkey=abc");
    }
}
