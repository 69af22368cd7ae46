//! What a node is told before it starts.
//!
//! A file is read in three steps, each in a file of its own: [`settings`] takes the TOML apart by the list in
//! [`keys`], [`build`] makes a [`Config`] of what it found and of the defaults, [`check`] looks at keys that must
//! fit together. Nothing is opened or bound before all three have passed.
//!
//! - [`KEYS`] is the only place that knows a key's default and range; the reference in `docs/configuration.md` and
//!   the text of [`default_toml`] are held against it.
//! - The old words of existing files (container, resource, etcd) stay in this room.
//! - A key that is unknown, or that nothing acts on, is a [`Warning`]; a bad value is a [`ConfigError`].

#![allow(clippy::disallowed_methods, reason = "reads the one file that is read before there is a disk")]

mod build;
mod check;
mod default_toml;
mod error;
mod keys;
mod kind;
mod model;
mod settings;
mod units;

use std::path::Path;

pub use default_toml::default_toml;
pub use error::{ConfigError, Warning};
pub use keys::{Fallback, KEYS, KeyInfo};
pub use kind::Kind;
pub use model::*;
pub use units::{NotAUrl, host_port};

use settings::Settings;

impl Config {
    /// Reads a configuration from its text; `file_name` is what errors and warnings call it.
    pub fn parse(text: &str, file_name: &str) -> Result<(Self, Vec<Warning>), ConfigError> {
        let (settings, mut warnings) = Settings::read(text, file_name)?;
        let config = build::build(&settings);
        config.validate(file_name)?;
        warnings.extend(config.ignored(file_name));
        Ok((config, warnings))
    }

    /// Reads a configuration from a file.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), ConfigError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ConfigError::Missing { file }),
            Err(source) => Err(ConfigError::Unreadable { file, source }),
        }
    }
}

impl Default for Config {
    /// Every key at its default. It does not pass [`Config::validate`] as it stands: a node is either a Prophet
    /// member or is told where Prophet is, and no default can know which.
    fn default() -> Self {
        build::build(&Settings::default())
    }
}
