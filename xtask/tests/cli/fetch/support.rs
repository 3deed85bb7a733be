//! A repository, and the cache that it is fetched into.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use llorch_parity::sha256_hex;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tempfile::TempDir;

use super::server::{Answer, Request, Server};
use crate::support::outcome;

pub const REPO: &str = "someone/tiny-gpt2";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const WEIGHTS: &str = "model.safetensors";
pub const TOKEN: &str = "hf_secret";

/// The files of a repository.
#[derive(Clone)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    /// Those of the embedded model.
    pub fn tiny() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tiny");
        let names = ["config.json", "tokenizer.json", WEIGHTS, "README.md"];
        let read = |name: &str| fs::read(folder.join(name)).expect("a file");
        Files(names.map(|name| (name.to_owned(), read(name))).into())
    }

    pub fn weights(&self) -> &[u8] {
        &self.0[WEIGHTS]
    }

    /// What a hub says of them. Large files are kept beside git, and go by another hash.
    pub fn listing(&self) -> Value {
        let file = |(name, bytes): (&String, &Vec<u8>)| {
            let mut file = json!({
                "rfilename": name, "size": bytes.len(), "blobId": git_blob(bytes),
            });
            if name.ends_with(".safetensors") {
                file["lfs"] = json!({
                    "sha256": sha256_hex(bytes), "size": bytes.len(), "pointerSize": 134,
                });
            }
            file
        };
        json!({ "sha": COMMIT, "siblings": self.0.iter().map(file).collect::<Vec<_>>() })
    }

    /// What an honest hub answers.
    pub fn answer(&self, request: &Request) -> Answer {
        if request.path.starts_with("/api/models/") {
            return Answer::whole(self.listing().to_string().as_bytes());
        }
        let name = request.path.rsplit('/').next().unwrap_or_default();
        match self.0.get(name) {
            Some(bytes) => Answer::to(request, bytes),
            None => Answer::status("404 Not Found"),
        }
    }

    /// A hub that is honest but for its weights.
    pub fn but_weights(
        self,
        mut answer: impl FnMut(&Request, &[u8]) -> Answer + Send + 'static,
    ) -> Server {
        Server::new(move |request| match request.path.ends_with(WEIGHTS) {
            true => answer(request, self.weights()),
            false => self.answer(request),
        })
    }
}

fn git_blob(bytes: &[u8]) -> String {
    let header = format!("blob {}\0", bytes.len());
    let hash = Sha1::new().chain_update(header).chain_update(bytes);
    let digits = hash.finalize();
    digits.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An empty cache, and the environment of the commands that use it.
pub struct Cache(pub TempDir);

impl Cache {
    pub fn new() -> Self {
        Cache(tempfile::tempdir().expect("a folder"))
    }

    pub fn folder(&self) -> PathBuf {
        let name = format!("hub/models--{}", REPO.replace('/', "--"));
        self.0.path().join(name)
    }

    pub fn snapshot(&self) -> PathBuf {
        self.folder().join("snapshots").join(COMMIT)
    }

    /// A file as the cache shows it.
    pub fn shown(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.snapshot().join(name)).ok()
    }

    pub fn partial(&self, files: &Files) -> PathBuf {
        let name = format!("{}.incomplete", sha256_hex(files.weights()));
        self.folder().join("blobs").join(name)
    }

    /// Nothing under a final name that is not what its name says, and no weights at all.
    pub fn assert_without_weights(&self, files: &Files) {
        assert_eq!(self.shown(WEIGHTS), None);
        let blobs = self.folder().join("blobs");
        assert!(!blobs.join(sha256_hex(files.weights())).exists());
        let whole: Vec<String> = files.0.values().map(|bytes| git_blob(bytes)).collect();
        for entry in fs::read_dir(blobs).expect("blobs") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("UTF-8");
            let is_named = whole.iter().any(|hash| hash == name);
            assert!(is_named || name.ends_with(".incomplete"), "{name}");
        }
        assert!(!self.folder().join("refs/main").exists());
    }

    pub fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(arguments)
            // Nobody's own hub, token or proxy.
            .env_clear()
            .env("HF_HOME", self.0.path())
            .envs(variables.iter().copied())
            .output()
            .expect("xtask runs")
    }

    pub fn fetch_with(&self, server: &Server, variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let address = server.address();
        let own = [("HF_ENDPOINT", address.as_str())];
        outcome(&self.run(&["fetch", REPO], &[&own, variables].concat()))
    }

    pub fn fetch(&self, server: &Server) -> (Option<i32>, String) {
        self.fetch_with(server, &[])
    }
}

/// The requests for weights, each with where it wanted them from.
pub fn asked(server: &Server) -> Vec<Option<usize>> {
    let requests = server.requests();
    let weights = requests.iter().filter(|r| r.path.ends_with(WEIGHTS));
    weights.map(Request::from).collect()
}
