//! One version byte, then postcard. Used for envelopes on the wire, for commands in the log and for rows on disk.

use serde::{Serialize, de::DeserializeOwned};

/// The version of everything that is encoded here. Raised by every change of a wire or disk type.
pub const VERSION: u8 = 5;

/// Bytes that are not ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by another version.
    #[error("encoded with version {0}; this build reads version {VERSION}")]
    Version(u8),
    /// Cut short, or not an encoding at all.
    #[error("not a valid encoding: {0}")]
    Malformed(String),
}

/// Encodes `value`. Never fails for our own types: they hold no maps with foreign keys and no unbounded recursion.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("our own types encode")
}

/// Decodes what [`encode`] wrote; trailing bytes are refused.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (&version, rest) = bytes.split_first().ok_or_else(|| CodecError::Malformed("no bytes".into()))?;
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Ok(value),
        Ok((_, more)) => Err(CodecError::Malformed(format!("{} bytes too many", more.len()))),
        Err(error) => Err(CodecError::Malformed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, KeyRange};

    #[test]
    fn what_was_encoded_is_decoded() {
        let range = KeyRange { start: vec![0, 255], end: vec![] };
        assert_eq!(decode::<KeyRange>(&encode(&range)), Ok(range));
    }

    #[test]
    fn another_version_a_cut_and_a_tail_are_refused() {
        let good = encode(&Epoch { conf_ver: 300, version: 2 });
        let mut other = good.clone();
        other[0] = 9;
        assert_eq!(decode::<Epoch>(&other), Err(CodecError::Version(9)));
        assert!(decode::<Epoch>(&good[..good.len() - 1]).is_err());
        assert!(decode::<Epoch>(&[&good[..], &[0]].concat()).is_err());
        assert!(decode::<Epoch>(&[]).is_err());
    }
}
