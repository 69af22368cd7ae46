//! What can be said about a configuration file: why it is refused, and what in it does nothing.

use std::fmt;

use super::default_toml::how_to_get_one;

/// Why a configuration is refused. Nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("{file}: there is no such file. {}", how_to_get_one(file))]
    Missing {
        /// The file that was asked for.
        file: String,
    },
    /// The file is there and cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Unreadable {
        /// The file that was asked for.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The text is not TOML.
    #[error("{file}: is not TOML: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// Where and why, as the parser says it.
        message: String,
    },
    /// A key has a value that it cannot have.
    #[error("{file}: {key} = {value}: expected {valid}")]
    Value {
        /// The file.
        file: String,
        /// The key with its section, as `raft.tick-interval`.
        key: String,
        /// The value, as TOML.
        value: String,
        /// What would be valid.
        valid: String,
    },
}

/// Something in a file that does nothing. The node starts all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// No such key exists.
    UnknownKey {
        /// The file.
        file: String,
        /// The key with its section.
        key: String,
    },
    /// The key does nothing beside another one of this file.
    Ignored {
        /// The file.
        file: String,
        /// The key with its section.
        key: String,
        /// Which other key makes it so.
        why: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { file, key } => {
                write!(f, "{file}: {key}: unknown key, ignored (`matrixkv config default` lists all keys)")
            }
            Self::Ignored { file, key, why } => write!(f, "{file}: {key}: ignored, because {why}"),
        }
    }
}
