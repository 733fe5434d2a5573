//! The macros that declare object types and their choices: everything else about a type is derived from here.

/// Declares an object type: its name, its properties, and what is said about them. Doc comments are the help.
///
/// Each property says first whether it is `required` (a value must be given), `default` (it has a value without being
/// given one), `optional`, or `needed` (a value must be given while the property applies), then the field's name in
/// Rust, the name in the configuration, other spellings behind `or`, the kind of value, the default, and behind
/// `where` the value another property must have for this one to apply.
#[macro_export]
macro_rules! object {
    (
        $(#[doc = $doc:literal])*
        pub struct $type:ident: $name:literal $(or $alias:literal)* { $($key:ident: $setting:expr),* $(,)? }
        $(
            $(#[doc = $help:literal])*
            $mode:ident $field:ident as $property:literal $(or $spelling:literal)*: $kind:ty
            $(= $value:literal)? $(where $other:literal = $($wanted:literal)|+)?;
        )*
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub struct $type {
            $($(#[doc = $help])* pub $field: $crate::field_type!($mode $kind),)*
        }

        impl $type {
            /// What is declared about the type.
            pub const TYPE: &'static $crate::TypeInfo = &$crate::TypeInfo {
                name: $name,
                aliases: &[$($alias),*],
                help: &[$($doc),*],
                properties: &[
                    $($crate::PropertyInfo {
                        name: $property,
                        aliases: &[$($spelling),*],
                        kind: <$kind as $crate::kind::ValueType>::KIND,
                        default: $crate::first_of!($(Some($value),)? None),
                        mandatory: $crate::is_mandatory!($mode),
                        applies: $crate::first_of!($(Some(($other, &[$($wanted),+])),)? None),
                        help: &[$($help),*],
                    },)*
                    $crate::COMMENTS,
                ],
                $($key: $setting,)*
                ..$crate::UNDECLARED
            };

            /// The object as a typed value; `None` when a value is missing or not of its kind, which checking the
            /// object has then reported.
            pub fn read(object: &$crate::Object) -> Option<Self> {
                // A type without properties of its own reads nothing.
                let _ = object;
                Some(Self { $($field: $crate::read_field!($mode $kind, object, $property),)* })
            }
        }

        impl $crate::kind::Target for $type {
            const TYPES: &'static [&'static str] = &[$name];
        }
    };
}

/// Declares a choice of words as an enum. `without` lists words the product knows and this version does not offer.
#[macro_export]
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $type:ident $(without $($absent:literal),+)? {
            $($(#[doc = $help:literal])* $variant:ident = $name:literal $(or $alias:literal)*,)+
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[doc = $help])* $variant,)+
        }

        impl $crate::kind::ValueType for $type {
            type Typed = Self;
            const KIND: $crate::kind::Kind = $crate::kind::Kind::Choice {
                choices: &[
                    $($crate::kind::Choice { name: $name, aliases: &[$($alias),*], help: &[$($help),*] },)+
                ],
                absent: &[$($($absent),+)?],
            };

            fn typed(text: &str) -> Option<Self> {
                $(if text.eq_ignore_ascii_case($name) { return Some(Self::$variant); })+
                None
            }
        }
    };
}

/// The Rust type of a property's field.
#[doc(hidden)]
#[macro_export]
macro_rules! field_type {
    (required $kind:ty) => { <$kind as $crate::kind::ValueType>::Typed };
    (default $kind:ty) => { <$kind as $crate::kind::ValueType>::Typed };
    (optional $kind:ty) => { Option<<$kind as $crate::kind::ValueType>::Typed> };
    (needed $kind:ty) => { Option<<$kind as $crate::kind::ValueType>::Typed> };
}

/// Reads a property's field.
#[doc(hidden)]
#[macro_export]
macro_rules! read_field {
    (required $kind:ty, $object:expr, $name:literal) => {
        $object.typed::<$kind>($name)??
    };
    (default $kind:ty, $object:expr, $name:literal) => {
        $object.typed::<$kind>($name)??
    };
    (optional $kind:ty, $object:expr, $name:literal) => {
        $object.typed::<$kind>($name)?
    };
    (needed $kind:ty, $object:expr, $name:literal) => {
        $object.typed::<$kind>($name)?
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! is_mandatory {
    (required) => {
        true
    };
    (needed) => {
        true
    };
    (default) => {
        false
    };
    (optional) => {
        false
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! first_of {
    ($first:expr $(, $rest:expr)* $(,)?) => {
        $first
    };
}
