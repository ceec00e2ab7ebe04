//! What may go wrong for a client, split by what its caller does next.

use std::{fmt, io};

use super::Address;
use crate::frame::ErrorCode;

/// A request or a connection failed.
#[derive(Debug)]
pub enum ClientError {
    /// Not an address: the user must write another.
    Address(String),
    /// No connection could be made: try again, or elsewhere.
    Connect(Address, io::Error),
    /// The connection broke or fell silent: connect again.
    Lost(Address, String),
    /// What answers isn't a gateway's native listener, or breaks the protocol: trying again is of no use.
    Protocol(Address, String),
    /// The gateway refused: the code tells whether that may pass.
    Refused(ErrorCode, String),
    /// What was asked for can't be sent: too large, or not a value that the protocol has.
    Invalid(String),
}

impl ClientError {
    /// Whether connecting again may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect(..) | Self::Lost(..) => true,
            Self::Refused(code, _) => code.is_retriable(),
            Self::Address(_) | Self::Protocol(..) | Self::Invalid(_) => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(text) => {
                write!(f, "\"{text}\" is no address: write HOST:PORT, such as 127.0.0.1:9790, or unix:PATH")
            }
            Self::Connect(address, error) => {
                write!(f, "cannot connect to {address}: {error}; is \"brooklet serve\" running there?")
            }
            Self::Lost(address, why) => write!(f, "lost the connection to {address}: {why}"),
            Self::Protocol(address, why) => {
                write!(f, "{address} doesn't answer as a Brooklet native listener does: {why}; is it the right port?")
            }
            Self::Refused(code, text) if text.is_empty() => code.fmt(f),
            Self::Refused(_, text) => f.write_str(text),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(_, error) => Some(error),
            _ => None,
        }
    }
}
