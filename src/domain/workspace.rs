//! A workspace: a tenant. The root is the organization, its descendants are locations, teams, customers.

use super::id::Id;

/// The root workspace, which is there from the start and owns what is declared in the config file.
pub fn root() -> Id {
    Id::derived("keygate root workspace v1", b"")
}

/// Deepest nesting below the root.
pub const MAX_DEPTH: usize = 8;

/// Where a workspace stands in the tree: the ids of its ancestors from the root down, then its own.
///
/// What acts in a workspace acts in all below it, never in one above or beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage(Vec<Id>);

impl Lineage {
    /// From the root down; the last is the workspace itself.
    pub fn new(ids: Vec<Id>) -> Self {
        Self(ids)
    }

    /// The workspace itself.
    pub fn own(&self) -> Id {
        self.0.last().copied().unwrap_or_else(root)
    }

    /// The workspace and all above it, from the root down.
    pub fn ids(&self) -> &[Id] {
        &self.0
    }

    /// Whether what belongs to `owner` reaches this workspace.
    pub fn is_reached_from(&self, owner: Id) -> bool {
        self.0.contains(&owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_reach_downwards_only() {
        let [root, north, south, shop] = [1, 2, 3, 4].map(Id::from_bits);
        let place = Lineage::new(vec![root, north, shop]);
        for (owner, reaches) in [(root, true), (north, true), (shop, true), (south, false)] {
            assert_eq!(place.is_reached_from(owner), reaches);
        }
        assert!(!Lineage::new(vec![root, north]).is_reached_from(shop));
        assert_eq!(place.own(), shop);
    }
}
