//! `docs/GATEKEEPER.md`, typed: each block of commands is run as it stands there, and what is shown
//! below a command is what has to be printed.

use super::{PAGE, lab::in_time};
use crate::chart::{documents::blocks, helm::Ran, site::Site};

/// The document, as it reads on a site.
pub(super) struct Page<'a> {
    site: &'a Site,
    /// What the document says, and what that is here.
    names: Vec<(&'a str, &'a str)>,
}

/// A command of the document, and what it shows below it.
struct Typed {
    command: String,
    shown: String,
}

impl<'a> Page<'a> {
    /// The document where these names are others, with the files that it shows written.
    pub(super) fn new(site: &'a Site, names: &[(&'a str, &'a str)]) -> Self {
        let page = Self { site, names: names.to_vec() };
        for block in blocks(PAGE, "yaml") {
            let name = block.lines().next().and_then(|line| line.strip_prefix("# "));
            if let Some(name) = name.filter(|name| name.ends_with(".yaml")) {
                std::fs::write(site.helm.folder().join(name), page.here(&block)).unwrap();
            }
        }
        page
    }

    /// Types the commands of the one block that has this text. Each has to succeed, unless an error
    /// is shown below it; and what is shown is what is printed.
    pub(super) async fn succeed(&self, text: &str) {
        let block = self.block(text);
        for typed in commands(&block) {
            let command = self.here(&typed.command);
            let ran = in_time(async || self.site.shell(&command).await, |ran| &ran.stderr).await;
            self.compare(&typed, &ran);
        }
    }

    fn block(&self, text: &str) -> String {
        let blocks = blocks(PAGE, "console");
        let mut found = blocks.into_iter().filter(|block| block.contains(text));
        let block = found.next().unwrap_or_else(|| panic!("no block has {text:?}"));
        assert!(found.next().is_none(), "several blocks have {text:?}");
        block
    }

    fn here(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, here)| text.replace(name, here))
    }

    fn compare(&self, typed: &Typed, ran: &Ran) {
        let Typed { command, shown } = typed;
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        let is_refused = shown.to_lowercase().starts_with("error");
        assert_eq!(ran.is_success, !is_refused, "{command}: {printed}");
        let shown = self.here(shown);
        // What differs each time, such as a digest, is an ellipsis in the document.
        let mut rest = printed.as_str();
        for part in shown.split('…').map(str::trim).filter(|part| !part.is_empty()) {
            let at = rest.find(part).unwrap_or_else(|| panic!("{command}: {part:?} in {printed}"));
            rest = &rest[at + part.len()..];
        }
    }
}

/// The commands of a block: each begins with `$ `, and goes on where a line ends with a backslash.
fn commands(block: &str) -> Vec<Typed> {
    let mut commands: Vec<Typed> = Vec::new();
    let mut goes_on = false;
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push(Typed { command: command.to_owned(), shown: String::new() });
        } else {
            let last = commands.last_mut().expect("a block begins with a command");
            let text = if goes_on { &mut last.command } else { &mut last.shown };
            text.extend(["\n", line]);
        }
        let is_command = line.starts_with("$ ") || goes_on;
        goes_on = is_command && line.ends_with('\\');
    }
    for typed in &mut commands {
        typed.shown = typed.shown.trim_start().to_owned();
    }
    commands
}
