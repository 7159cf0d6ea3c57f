//! The providers for clouds, against loopback servers that speak the real wire and judge each
//! request they get.

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "aws")]
mod log;
