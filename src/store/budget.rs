//! A bound on the rows that one turn touches beside its requests, so that large work does not hold up the store.

/// Rows in a slice of work.
const SLICE_ROWS: usize = 2048;

/// What is left of a slice.
pub(super) struct Budget {
    bytes: u64,
    rows: usize,
}

impl Budget {
    /// A slice of so many bytes, and not too many rows.
    pub fn of_bytes(bytes: u64) -> Budget {
        Budget { bytes, rows: SLICE_ROWS }
    }

    /// A row of so many bytes was touched. The last one may be larger than what was left.
    pub fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        self.rows = self.rows.saturating_sub(1);
    }

    /// Whether the rest has to wait for another turn.
    pub fn is_over(&self) -> bool {
        self.bytes == 0 || self.rows == 0
    }
}
