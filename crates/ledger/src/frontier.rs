//! The right edge of the Merkle tree (RFC 6962): all that is needed to add a record and to know the
//! root.

use tlog_tiles::{
    Error, Hash, HashReader, stored_hashes_for_record_hash, sub_tree_index, tree_hash,
};

/// The hashes of the complete subtrees that make up a tree of `size` records, largest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

impl Frontier {
    /// How many hashes the frontier of `size` records has: one for each bit that is set.
    pub(crate) const fn len_of(size: u64) -> u32 {
        size.count_ones()
    }

    /// A frontier as it was stored. Believe it only if [`Frontier::root`] is a signed root.
    pub(crate) const fn stored(size: u64, hashes: Vec<Hash>) -> Self {
        Self { size, hashes }
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Adds the leaf of the next record.
    pub(crate) fn push(&mut self, leaf: Hash) -> Result<(), Error> {
        // Each trailing one of the size is a complete subtree that this record merges.
        let merged = self.size.trailing_ones() as usize;
        let new = stored_hashes_for_record_hash(self.size, leaf, self)?;
        self.hashes
            .truncate(self.hashes.len().saturating_sub(merged));
        self.hashes.extend(new.last());
        self.size += 1;
        Ok(())
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Result<Hash, Error> {
        tree_hash(self.size, self)
    }
}

impl HashReader for Frontier {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let held = sub_tree_index(0, self.size, Vec::new());
        let hash_at = |index| {
            let at = held.iter().position(|held| *held == index)?;
            self.hashes.get(at).copied()
        };
        let hashes = indexes.iter().map(|&index| hash_at(index));
        hashes.collect::<Option<_>>().ok_or(Error::IndexesNotInTree)
    }
}

#[cfg(test)]
mod tests {
    use tlog_tiles::{node_hash, record_hash};

    use super::*;

    /// RFC 6962 section 2.1, written down a second time as the definition says it.
    fn root_by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => tlog_tiles::EMPTY_HASH,
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(root_by_definition(left), root_by_definition(right))
            }
        }
    }

    /// I12: the root is RFC 6962's for every size, and what is kept stays logarithmic.
    #[test]
    fn the_root_is_that_of_the_definition_for_every_size() {
        let mut frontier = Frontier::default();
        let mut leaves = Vec::new();
        for index in 0..300_u64 {
            assert_eq!(frontier.root().unwrap(), root_by_definition(&leaves));
            assert_eq!(frontier.hashes().len(), Frontier::len_of(index) as usize);
            let stored = Frontier::stored(index, frontier.hashes().to_vec());
            assert_eq!(stored.root().unwrap(), frontier.root().unwrap());
            let leaf = record_hash(&index.to_le_bytes());
            frontier.push(leaf).unwrap();
            leaves.push(leaf);
        }
        assert_eq!(frontier.size(), 300);
    }

    #[test]
    fn a_stored_frontier_of_the_wrong_length_has_no_root() {
        let short = Frontier::stored(3, vec![record_hash(b"x")]);
        assert!(short.root().is_err());
        assert!(short.clone().push(record_hash(b"y")).is_err());
    }
}
