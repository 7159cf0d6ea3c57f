//! `ratify discover`: what is attached to a subject, and to that in turn, as a tree or a list.

use std::{future::Future, pin::Pin, process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};
use clap::Args;
use ratify_core::{Descriptor, Reference, ReferrerStore};
use serde::Serialize;

use super::{Context, flag, output, verify::warn_of_tag};
use crate::assemble;

/// How deep attachments of attachments are followed.
const MAX_DEPTH: usize = 16;
/// How many artifacts one command lists.
const MAX_ARTIFACTS: usize = 10_000;

#[derive(Debug, Args)]
pub(crate) struct Discover {
    #[command(flatten)]
    question: flag::Question,
    /// artifact type to filter
    #[arg(short = 't', long = "artifactType")]
    artifact_type: Vec<String>,
    /// Output referrers in a flat list format (default is tree format)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = flag::go_bool)]
    flat: bool,
    #[command(flatten)]
    pub(super) debug: flag::Debug,
}

/// What one store lists, in v1's JSON: `References` has a capital.
#[derive(Serialize)]
struct StoreList {
    #[serde(rename = "storeName")]
    name: String,
    #[serde(rename = "References", skip_serializing_if = "Vec::is_empty")]
    references: Vec<Descriptor>,
}

/// An artifact and what is attached to it.
struct Node {
    descriptor: Descriptor,
    children: Vec<Node>,
}

impl Discover {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let subject = assemble::parse_subject(&self.question.subject)?;
        let config = context.load_config(&self.question.config)?;
        warn_of_tag(&subject);
        let stores = assemble::stores(&config, &context.runtime).await?;
        let work = self.question.work();
        let descriptor = assemble::resolve(&stores, &subject, &work).await?;
        let subject = subject.with_digest(descriptor.digest.clone());
        let mut forest = Vec::new();
        for store in &stores {
            let mut walk = Walk { store, types: &self.artifact_type, work: &work, found: 0 };
            forest.push((store.name().to_owned(), walk.below(&subject, &descriptor, 0).await?));
        }
        if self.flat {
            output::print_json(&flat_lists(forest))?;
        } else {
            output::print_line(&tree_text(subject.as_str(), &forest))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

struct Walk<'a> {
    store: &'a Arc<dyn ReferrerStore>,
    types: &'a [String],
    work: &'a ratify_core::Context,
    found: usize,
}

impl Walk<'_> {
    /// Lists what is attached to `subject` and below. A recursive future needs a box.
    fn below<'s>(
        &'s mut self,
        subject: &'s Reference,
        descriptor: &'s Descriptor,
        depth: usize,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<Vec<Node>>> + Send + 's>> {
        Box::pin(async move {
            if depth == MAX_DEPTH {
                bail!("{subject}: attachments are nested more than {MAX_DEPTH} deep");
            }
            let mut nodes = Vec::new();
            let mut token = String::new();
            loop {
                let (types, work) = (self.types, self.work);
                let page =
                    self.store.list_referrers(subject, descriptor, types, &token, work).await;
                let page = page.with_context(|| {
                    format!("failed to get referrers list from subject {subject}")
                })?;
                for referrer in page.referrers {
                    self.found += 1;
                    if self.found > MAX_ARTIFACTS {
                        bail!("{subject}: more than {MAX_ARTIFACTS} artifacts are attached");
                    }
                    let below = subject.sibling(&referrer.descriptor.digest);
                    let children = self.below(&below, &referrer.descriptor, depth + 1).await?;
                    nodes.push(Node { descriptor: referrer.descriptor, children });
                }
                if page.next_token.is_empty() || page.next_token == token {
                    return Ok(nodes);
                }
                token = page.next_token;
            }
        })
    }
}

/// v1's order: what is attached to an artifact stands before the artifact's siblings.
fn flat_lists(forest: Vec<(String, Vec<Node>)>) -> Vec<StoreList> {
    fn flatten(nodes: Vec<Node>, into: &mut Vec<Descriptor>) {
        let mut own = Vec::new();
        for node in nodes {
            flatten(node.children, into);
            own.push(node.descriptor);
        }
        into.append(&mut own);
    }
    let list = |(name, nodes)| {
        let mut references = Vec::new();
        flatten(nodes, &mut references);
        StoreList { name, references }
    };
    forest.into_iter().map(list).collect()
}

fn tree_text(subject: &str, forest: &[(String, Vec<Node>)]) -> String {
    fn draw(nodes: &[Node], indent: &str, text: &mut String) {
        for (index, node) in nodes.iter().enumerate() {
            let label = format!("[{}]{}", node.descriptor.artifact_type, node.descriptor.digest);
            let below = branch(&label, indent, index + 1 == nodes.len(), text);
            draw(&node.children, &below, text);
        }
    }
    let mut text = format!("{subject}\n");
    for (index, (name, nodes)) in forest.iter().enumerate() {
        let below = branch(name, "", index + 1 == forest.len(), &mut text);
        draw(nodes, &below, &mut text);
    }
    text
}

/// Draws one line; what the lines below are indented by comes back.
fn branch(label: &str, indent: &str, is_last: bool, text: &mut String) -> String {
    let (edge, below) = if is_last { ("└──", "    ") } else { ("├──", "│   ") };
    text.push_str(&format!("{indent}{edge} {}\n", ratify_core::without_control_characters(label)));
    format!("{indent}{below}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: &str, children: Vec<Node>) -> Node {
        let digest = format!("sha256:{}", byte.repeat(32)).parse().unwrap();
        Node { descriptor: Descriptor::new("m", digest, 1).with_artifact_type("a/b"), children }
    }

    fn forest() -> Vec<(String, Vec<Node>)> {
        let nodes = vec![node("aa", vec![node("bb", vec![])]), node("cc", vec![])];
        vec![("oras".into(), nodes), ("other".into(), vec![])]
    }

    #[test]
    fn draws_v1s_tree() {
        let text = tree_text("reg/r:v1", &forest())
            .replace(&"a".repeat(64), "A")
            .replace(&"b".repeat(64), "B")
            .replace(&"c".repeat(64), "C");
        insta::assert_snapshot!(text, @r"
        reg/r:v1
        ├── oras
        │   ├── [a/b]sha256:A
        │   │   └── [a/b]sha256:B
        │   └── [a/b]sha256:C
        └── other
        ");
    }

    #[test]
    fn lists_children_before_their_parents() {
        let lists = flat_lists(forest());
        let first: Vec<&str> = lists[0].references.iter().map(|d| &d.digest.hex()[..2]).collect();
        assert_eq!(first, ["bb", "aa", "cc"]);
        assert_eq!(serde_json::to_string(&lists[1]).unwrap(), r#"{"storeName":"other"}"#);
    }
}
