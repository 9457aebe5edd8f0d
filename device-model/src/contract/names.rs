// SPDX-License-Identifier: MIT OR Apache-2.0

//! Choices that have names.

/// A name that is not one of those a choice has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no {what}; there are: {choices}")]
pub struct UnknownName {
    /// What was asked for.
    pub given: String,
    /// What kind of name it should be.
    pub what: &'static str,
    /// The names there are, separated by commas.
    pub choices: String,
}

/// Gives an enum without fields its names: `Display`, `FromStr`, whose error lists the names, and `name`.
///
/// ```
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum Colour { Grey, Rgb }
///
/// landfall_device::named! {
///     Colour, "colour" {
///         Grey => "grey",
///         Rgb => "rgb",
///     }
/// }
///
/// assert_eq!("rgb".parse(), Ok(Colour::Rgb));
/// let wrong = "red".parse::<Colour>().unwrap_err();
/// assert_eq!(wrong.to_string(), r#""red" is no colour; there are: grey, rgb"#);
/// ```
#[macro_export]
macro_rules! named {
    ($type:ident, $what:literal { $($variant:ident => $name:literal,)* }) => {
        impl $type {
            /// Its name on command lines and in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::contract::UnknownName;

            fn from_str(given: &str) -> Result<Self, Self::Err> {
                match given {
                    $($name => Ok(Self::$variant),)*
                    _ => Err($crate::contract::UnknownName {
                        given: given.to_owned(),
                        what: $what,
                        choices: [$($name),*].join(", "),
                    }),
                }
            }
        }
    };
}
