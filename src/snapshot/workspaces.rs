//! The tree of workspaces as the data plane needs it: which one a route names, and what is above it.

use crate::domain::id::{Id, Kind};
use crate::domain::workspace::{Lineage, root};
use std::collections::HashMap;

/// All workspaces.
#[derive(Debug, Clone)]
pub struct Workspaces {
    by_id: HashMap<Id, (Lineage, String)>,
    /// By names from below the root down, such as `acme/berlin`.
    by_names: HashMap<String, Id>,
}

impl Default for Workspaces {
    /// The root alone.
    fn default() -> Self {
        Self::new([(Lineage::new(vec![root()]), String::new())])
    }
}

impl Workspaces {
    /// From each workspace's lineage and its own name; parents need not come first.
    pub fn new(all: impl IntoIterator<Item = (Lineage, String)>) -> Self {
        let all: Vec<(Lineage, String)> = all.into_iter().collect();
        let names: HashMap<Id, &str> = all
            .iter()
            .map(|(lineage, name)| (lineage.own(), &**name))
            .collect();
        let spelled = |lineage: &Lineage| {
            let below = lineage.ids().iter().filter(|id| **id != root());
            let names: Vec<&str> = below.filter_map(|id| names.get(id).copied()).collect();
            names.join("/")
        };
        Self {
            by_names: all
                .iter()
                .map(|(lineage, _)| (spelled(lineage), lineage.own()))
                .collect(),
            by_id: all.iter().map(|one| (one.0.own(), one.clone())).collect(),
        }
    }

    /// Each workspace's lineage and its own name, in no order.
    pub fn all(&self) -> impl Iterator<Item = &(Lineage, String)> {
        self.by_id.values()
    }

    /// The workspace of this id or of these names; `None`: there is none.
    pub fn find(&self, text: &str) -> Option<&Lineage> {
        let id = Id::parse(Kind::Workspace, text).or_else(|| self.by_names.get(text).copied())?;
        self.by_id.get(&id).map(|(lineage, _)| lineage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_are_found_by_id_and_by_names() {
        let [acme, berlin] = [1, 2].map(Id::from_bits);
        let tree = Workspaces::new([
            (Lineage::new(vec![root(), acme, berlin]), "berlin".into()),
            (Lineage::new(vec![root()]), "root".into()),
            (Lineage::new(vec![root(), acme]), "acme".into()),
        ]);
        let id = berlin.text(Kind::Workspace).to_string();
        for text in ["acme/berlin", &id] {
            assert_eq!(tree.find(text).map(Lineage::own), Some(berlin), "{text}");
        }
        assert_eq!(tree.find("acme").map(Lineage::own), Some(acme));
        for text in ["berlin", "acme/", "root", "ws_1"] {
            assert_eq!(tree.find(text), None, "{text}");
        }
    }
}
