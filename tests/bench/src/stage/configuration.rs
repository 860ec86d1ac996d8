//! The `plugins.toml` of one host.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{PUBLIC_URL, compiled_folder, make_private};

const INTERCOM: &str = "https://api.intercom.io";

pub struct Configuration<'a> {
    /// The folder with the connectors.
    pub components: &'a Path,
    pub all_connectors: bool,
    /// The address of a server; None: a file of its own.
    pub database: Option<&'a str>,
    pub redirects: &'a [(String, String)],
    /// The host's own door.
    pub inbox: SocketAddr,
}

impl Configuration<'_> {
    /// Writes it into this folder; answers with the file.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let data = folder.join("data");
        make_private(&data)?;
        // Compiled components outlive a run: compiling is not what is measured.
        std::os::unix::fs::symlink(compiled_folder()?, data.join("compiled"))?;
        let file = folder.join("plugins.toml");
        std::fs::write(&file, self.text()?)?;
        Ok(file)
    }

    fn text(&self) -> Result<String> {
        let database = serde_json::to_string(self.database.unwrap_or("sqlite:data/mantle.db"))?;
        // Hosts that share a database share the key.
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\npublic_url = \"{PUBLIC_URL}\"\ndata_dir = \"data\"\n\
             [database]\nurl = {database}\n[secrets]\nkey_file = \"../key/secret.key\"\n\
             [inbox.intercom]\nclient_secret = \"bench-client-secret\"\n"
        );
        let connectors: &[&str] = if self.all_connectors {
            &["telegram", "twilio-sms", "whatsapp"]
        } else {
            &["whatsapp"]
        };
        for name in connectors {
            let component = serde_json::to_string(&self.components.join(format!("{name}.wasm")))?;
            text.push_str(&format!(
                "[plugins.{name}]\ncomponent = {component}\ngrants = \"asked\"\n"
            ));
        }
        text.push_str("[egress.redirect]\n");
        for (from, to) in self.redirects {
            let to = if from == INTERCOM {
                format!("http://{}", self.inbox)
            } else {
                to.clone()
            };
            text.push_str(&format!("\"{from}\" = \"{to}\"\n"));
        }
        Ok(text)
    }
}
