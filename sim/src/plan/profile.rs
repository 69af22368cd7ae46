//! Which faults a seed draws: a file under `cfg/profiles/`, or one that somebody wrote.

use std::{collections::BTreeMap, fmt, path::Path, str::FromStr};

use serde::Deserialize;

use super::Kind;

/// How often at most a fault may come in one plan.
pub const MOST_MAX: u64 = 1000;

/// The profiles that come with the simulator.
const KNOWN: [(&str, &str); 6] = [
    ("all", include_str!("../../../cfg/profiles/all.toml")),
    ("calm", include_str!("../../../cfg/profiles/calm.toml")),
    ("storm", include_str!("../../../cfg/profiles/storm.toml")),
    ("disk", include_str!("../../../cfg/profiles/disk.toml")),
    ("membership", include_str!("../../../cfg/profiles/membership.toml")),
    ("chaos", include_str!("../../../cfg/profiles/chaos.toml")),
];

/// A profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    name: String,
    about: String,
    liveness: f64,
    faults: BTreeMap<Kind, Frequency>,
}

/// How likely a kind of fault is.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frequency {
    /// The chance that a seed has this kind at all, 0 to 1.
    pub chance: f64,
    /// How often it comes at most in a seed that has it, 1 to [`MOST_MAX`].
    pub most: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    about: String,
    #[serde(default)]
    liveness: f64,
    faults: BTreeMap<Kind, Frequency>,
}

impl Profile {
    /// The one that is meant where none is named.
    pub fn all() -> Self {
        "all".parse().expect("our own profiles are sound")
    }

    /// The one that is meant on real processes where none is named.
    pub fn chaos() -> Self {
        "chaos".parse().expect("our own profiles are sound")
    }

    /// The names of those that come with the simulator.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|(name, _)| *name)
    }

    /// Its name, or where it was read.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the one that is meant where none is named.
    pub fn is_usual(&self) -> bool {
        self.name == "all"
    }

    /// How likely a kind is; `None` if it never comes.
    pub fn frequency(&self, kind: Kind) -> Option<Frequency> {
        self.faults.get(&kind).copied().filter(|frequency| frequency.chance > 0.0)
    }

    /// The chance that a seed has a phase in which a minority is ill for good.
    pub fn liveness(&self) -> f64 {
        self.liveness
    }

    /// The kinds that it draws.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().filter(|kind| self.frequency(*kind).is_some())
    }

    fn parse(name: &str, text: &str) -> Result<Self, String> {
        let Written { about, liveness, faults } = toml::from_str(text).map_err(|error| format!("{name}: {error}"))?;
        if !(0.0..=1.0).contains(&liveness) {
            return Err(format!("{name}: liveness: {liveness}, must be 0 to 1"));
        }
        for (kind, Frequency { chance, most }) in &faults {
            if !(0.0..=1.0).contains(chance) {
                return Err(format!("{name}: faults.{kind}.chance: {chance}, must be 0 to 1"));
            }
            if !(1..=MOST_MAX).contains(most) {
                return Err(format!("{name}: faults.{kind}.most: {most}, must be 1 to {MOST_MAX}"));
            }
        }
        Ok(Profile { name: name.to_owned(), about, liveness, faults })
    }
}

impl FromStr for Profile {
    type Err = String;

    /// A name, or else the path of a file.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((name, known)) = KNOWN.iter().find(|(name, _)| *name == text) {
            return Self::parse(name, known);
        }
        let names = Self::names().collect::<Vec<_>>().join(", ");
        let read = std::fs::read_to_string(Path::new(text));
        let read = read.map_err(|error| format!("{text}: neither one of {names}, nor a file: {error}"))?;
        Self::parse(text, &read)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_profiles_are_sound_and_together_have_every_kind() {
        let profiles: Vec<Profile> = Profile::names().map(|name| name.parse().unwrap()).collect();
        for kind in Kind::ALL {
            assert!(Profile::all().frequency(*kind).is_some(), "{kind} is not in the usual profile");
            assert!(
                profiles[1..].iter().any(|profile| profile.frequency(*kind).is_some()),
                "{kind} is in no other profile"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_field() {
        let told = Profile::parse("x", "about = \"\"\nliveness = 2.0\n[faults]").unwrap_err();
        assert_eq!(told, "x: liveness: 2, must be 0 to 1");
        let told = |faults: &str| Profile::parse("x", &format!("about = \"\"\n[faults]\n{faults}")).unwrap_err();
        assert!(told("kill = { chance = 1.5, most = 1 }").contains("faults.kill.chance: 1.5, must be 0 to 1"));
        assert!(told("kill = { chance = 0.5, most = 0 }").contains("faults.kill.most: 0, must be 1 to 1000"));
        assert!(told("tsunami = { chance = 0.5, most = 1 }").contains("tsunami"));
        assert!(told("kill = { chance = 0.5, most = 1, least = 1 }").contains("least"));
        assert!("windy".parse::<Profile>().unwrap_err().contains("calm"));
    }
}
