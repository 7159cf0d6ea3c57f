//! Which rule refers to which: none to itself, and none so deep that the stack would not hold it.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::Span;

use super::{RECURSION, Refused, Result, UNPROVEN};

/// How much of the stack an evaluation may take, in kilobytes of a build without optimisation:
/// half of what a thread has. Measured: `tests::bounds::the_deepest_policies_fit_on_the_stack`.
pub(in super::super) const MAX_STACK: usize = 1000;
/// What a rule takes that refers to another, and what a loop in it takes.
const RULE_STACK: usize = 28;
const LOOP_STACK: usize = 14;

#[derive(Default)]
pub(super) struct Graph(BTreeMap<String, Node>);

struct Node {
    line: u32,
    uses: BTreeSet<String>,
    stack: usize,
}

impl Graph {
    /// One more rule of a name: what it uses, and how many loops and queries are in it.
    pub(super) fn add(&mut self, name: &str, at: &Span, uses: &BTreeSet<String>, loops: usize) {
        let new = Node { line: at.line, uses: BTreeSet::new(), stack: 0 };
        let node = self.0.entry(name.to_owned()).or_insert(new);
        node.uses.extend(uses.iter().cloned());
        node.stack = node.stack.max(RULE_STACK + loops * LOOP_STACK);
    }

    pub(super) fn check(&self) -> Result<()> {
        let mut depths = BTreeMap::new();
        // Rules whose uses are all known, until there are none left: what remains is in a circle.
        while depths.len() < self.0.len() {
            let before = depths.len();
            for (name, node) in &self.0 {
                let below: Option<Vec<usize>> =
                    node.uses.iter().map(|used| depths.get(used).copied()).collect();
                if let Some(below) = below {
                    let depth = node.stack + below.into_iter().max().unwrap_or_default();
                    self.check_depth(name, depth)?;
                    depths.insert(name.clone(), depth);
                }
            }
            let in_circle = self.0.iter().find(|(name, _)| !depths.contains_key(*name));
            if let Some((name, node)) = in_circle.filter(|_| depths.len() == before) {
                let what = format!("rule {name} is recursive, or refers to one that is");
                return Err(Refused::new(node.line, RECURSION, what));
            }
        }
        Ok(())
    }

    fn check_depth(&self, name: &str, depth: usize) -> Result<()> {
        if depth <= MAX_STACK {
            return Ok(());
        }
        let what = format!("rule {name} with the rules it refers to is too deep to be evaluated");
        Err(Refused::new(self.0.get(name).map_or(1, |node| node.line), UNPROVEN, what))
    }
}
