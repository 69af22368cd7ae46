//! From TOML to settings: each key of the file is looked up in the list, read by its kind, or warned about.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::{Table, Value};

use super::error::{ConfigError, Warning};
use super::keys::{Fallback, KEYS, KeyInfo};
use super::kind::Setting;

/// What a file sets; what it does not set is answered with the default.
///
/// A getter panics where the list of keys and the asker disagree on a key's name or kind. That is a contradiction of
/// this room alone, no file can bring it about, and `Config::default()` runs through all of them.
#[derive(Debug, Default)]
pub(super) struct Settings {
    given: BTreeMap<&'static str, Setting>,
}

impl Settings {
    /// Takes a file's text apart.
    pub(super) fn read(text: &str, file: &str) -> Result<(Self, Vec<Warning>), ConfigError> {
        let table = text.parse::<Table>().map_err(|error| ConfigError::Syntax {
            file: file.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let mut walk = Walk { file, settings: Self::default(), warnings: Vec::new() };
        walk.table("", &table)?;
        Ok((walk.settings, walk.warnings))
    }

    /// What holds for a key that has a default in the list.
    fn get(&self, path: &str) -> Setting {
        if let Some(setting) = self.given.get(path) {
            return setting.clone();
        }
        let key = KeyInfo::find(path).unwrap_or_else(|| panic!("no such key: {path}"));
        match key.default {
            Fallback::Value(toml) => read_default(key, toml),
            Fallback::SameAs(other) => self.get(other),
            Fallback::Found(_) => panic!("{path} has no default in the list"),
        }
    }

    pub(super) fn text(&self, path: &str) -> String {
        match self.get(path) {
            Setting::Text(text) => text,
            other => panic!("{path} is {other:?}"),
        }
    }

    pub(super) fn list(&self, path: &str) -> Vec<String> {
        match self.get(path) {
            Setting::List(list) => list,
            other => panic!("{path} is {other:?}"),
        }
    }

    pub(super) fn pairs(&self, path: &str) -> Vec<(String, String)> {
        match self.get(path) {
            Setting::Pairs(pairs) => pairs,
            other => panic!("{path} is {other:?}"),
        }
    }

    pub(super) fn flag(&self, path: &str) -> bool {
        match self.get(path) {
            Setting::Flag(flag) => flag,
            other => panic!("{path} is {other:?}"),
        }
    }

    pub(super) fn duration(&self, path: &str) -> Duration {
        match self.get(path) {
            Setting::Duration(duration) => duration,
            other => panic!("{path} is {other:?}"),
        }
    }

    pub(super) fn number(&self, path: &str) -> u64 {
        match self.get(path) {
            Setting::Number(number) => number,
            other => panic!("{path} is {other:?}"),
        }
    }

    pub(super) fn count(&self, path: &str) -> usize {
        usize::try_from(self.number(path)).expect("every range ends below 2^32")
    }

    pub(super) fn ratio(&self, path: &str) -> f64 {
        match self.get(path) {
            Setting::Ratio(ratio) => ratio,
            other => panic!("{path} is {other:?}"),
        }
    }

    /// Whether the file itself sets a key.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.given.contains_key(path)
    }
}

fn read_default(key: &KeyInfo, toml: &str) -> Setting {
    let value = toml.parse::<Value>().unwrap_or_else(|error| panic!("default of {}: {error}", key.path));
    key.kind.read(&value).unwrap_or_else(|| panic!("default of {} is out of its own range", key.path))
}

/// One walk over a file's tables.
struct Walk<'a> {
    file: &'a str,
    settings: Settings,
    warnings: Vec<Warning>,
}

impl Walk<'_> {
    fn table(&mut self, section: &str, table: &Table) -> Result<(), ConfigError> {
        for (name, value) in table {
            let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            self.entry(path, value)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: String, value: &Value) -> Result<(), ConfigError> {
        if let Some(key) = KeyInfo::find(&path) {
            return self.key(key, value);
        }
        match value {
            Value::Table(table) if is_section(&path) => self.table(&path, table),
            _ if is_section(&path) => Err(self.refuse(&path, value, format!("a section, [{path}]"))),
            _ => {
                self.warnings.push(Warning::UnknownKey { file: self.file.to_owned(), key: path });
                Ok(())
            }
        }
    }

    fn key(&mut self, key: &'static KeyInfo, value: &Value) -> Result<(), ConfigError> {
        let Some(setting) = key.kind.read(value) else {
            return Err(self.refuse(key.path, value, key.kind.to_string()));
        };
        self.settings.given.insert(key.path, setting);
        Ok(())
    }

    fn refuse(&self, path: &str, value: &Value, valid: String) -> ConfigError {
        ConfigError::Value { file: self.file.to_owned(), key: path.to_owned(), value: value.to_string(), valid }
    }
}

fn is_section(path: &str) -> bool {
    let inside = |key: &KeyInfo| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    KEYS.iter().any(inside)
}
