//! Another gateway, as the command line names it.

use std::process::Command;
use std::str::FromStr;

use super::contestant::Contestant;
use crate::stand::{Directory, Started, Upstream, split};
use crate::target::Target;

/// `NAME=URL=COMMAND LINE`.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(super) name: String,
    target: Target,
    pub(super) words: Vec<String>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '=');
        let (Some(name), Some(url), Some(command)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("a peer is NAME=URL=COMMAND LINE".to_owned());
        };
        let plain =
            |character: char| character.is_ascii_alphanumeric() || "-_. ".contains(character);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!(
                "{name:?}: a name has letters, digits, blanks and - _ ."
            ));
        }
        let words = split(command)?;
        if words.is_empty() {
            return Err(format!("{name}: no command line"));
        }
        Ok(Self {
            name: name.to_owned(),
            target: url.parse()?,
            words,
        })
    }
}

impl Peer {
    /// Starts it.
    pub(super) fn start(
        &self,
        upstream: &Upstream,
        directory: &Directory,
    ) -> Result<Contestant, String> {
        let mut words = self.words.iter().map(|word| {
            word.replace("{upstream}", &upstream.url())
                .replace("{upstream_authority}", &upstream.target.authority)
        });
        let program = words.next().unwrap_or_default();
        let mut command = Command::new(program);
        command.args(words);
        let file = self.name.replace(' ', "-");
        let process = Started::spawn(&file, &mut command, directory.path())?;
        let description = format!("`{}`", self.words.join(" "));
        Ok(Contestant::program(
            &self.name,
            description,
            self.target.clone(),
            process,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_a_url_and_a_command_line() {
        let peer: Peer = "other=http://127.0.0.1:9/mcp=prog --set a=b 'c d'"
            .parse()
            .unwrap();
        assert_eq!(peer.name, "other");
        assert_eq!(peer.target.path, "/mcp");
        assert_eq!(peer.words, ["prog", "--set", "a=b", "c d"]);
        for wrong in [
            "other",
            "other=http://127.0.0.1:9/mcp",
            "other=http://127.0.0.1:9/mcp=",
            "=http://127.0.0.1:9/mcp=x",
            "other=http://192.0.2.1:9/mcp=x",
            "<b>=http://127.0.0.1:9/mcp=x",
        ] {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
    }
}
