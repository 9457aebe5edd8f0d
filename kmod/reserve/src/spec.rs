// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The words of the parameter `source=`: which regions the pool is to have.
//!
//! ```text
//! regions      = alternatives *("+" alternatives)     all of them are wanted
//! alternatives = choice *("," choice)                  the first that works is taken
//! choice       = NAME [":" [PAGES] [":" [BITS]]]
//! ```
//!
//! So `carveout+contig:750:24,exact:750:24` is a region of the carve-out, and 750 pages below 16 MiB from
//! `contig` or else from `exact`.

/// One source to try. Names are not checked here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The source's name, not empty.
    pub name: &'a [u8],
    /// Pages, if given.
    pub pages: Option<u64>,
    /// Address bits, if given.
    pub address_bits: Option<u32>,
}

/// Why a word is no [`Choice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecError {
    /// Nothing between two separators.
    Empty,
    /// What should be a number of pages is not.
    Pages,
    /// What should be a number of bits is not.
    Bits,
    /// More than three fields.
    TooMany,
}

impl SpecError {
    /// The reason, in words.
    pub const fn text(&self) -> &'static str {
        match self {
            SpecError::Empty => "a source's name is missing",
            SpecError::Pages => "after the first colon comes a number of pages",
            SpecError::Bits => "after the second colon comes a number of address bits",
            SpecError::TooMany => "a source has at most three fields, NAME:PAGES:BITS",
        }
    }
}

/// The alternatives of each region, in order.
pub fn regions(words: &[u8]) -> impl Iterator<Item = &[u8]> {
    words.split(|byte| *byte == b'+')
}

/// The choices of one region, in order.
pub fn alternatives(words: &[u8]) -> impl Iterator<Item = Result<Choice<'_>, SpecError>> {
    words.split(|byte| *byte == b',').map(choice)
}

/// Parses `NAME[:PAGES[:BITS]]`.
pub fn choice(word: &[u8]) -> Result<Choice<'_>, SpecError> {
    let mut fields = word.split(|byte| *byte == b':');
    let name = fields.next().unwrap_or(&[]);
    if name.is_empty() {
        return Err(SpecError::Empty);
    }
    let pages = optional(fields.next()).map_err(|()| SpecError::Pages)?;
    let bits = optional(fields.next()).map_err(|()| SpecError::Bits)?;
    if fields.next().is_some() {
        return Err(SpecError::TooMany);
    }
    let address_bits = match bits {
        Some(bits) => Some(u32::try_from(bits).map_err(|_| SpecError::Bits)?),
        None => None,
    };
    Ok(Choice {
        name,
        pages,
        address_bits,
    })
}

/// A decimal number; a field that is missing or empty is none.
fn optional(field: Option<&[u8]>) -> Result<Option<u64>, ()> {
    let Some(digits) = field.filter(|field| !field.is_empty()) else {
        return Ok(None);
    };
    let mut number = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(());
        }
        let digit = u64::from(digit.wrapping_sub(b'0'));
        number = number
            .checked_mul(10)
            .and_then(|number| number.checked_add(digit))
            .ok_or(())?;
    }
    Ok(Some(number))
}
