//! RFC 3161 timestamps: that a signature was there at a time. [`Token`] is what an authority signed,
//! [`Interval`] the time that it names.

mod chain;
mod info;
mod lengths;
mod token;

pub(crate) use info::Interval;
pub(crate) use token::Token;

#[cfg(test)]
mod tests;
