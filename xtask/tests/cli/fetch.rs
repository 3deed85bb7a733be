//! `cargo xtask fetch` from a hub that is honest, slow, broken or false: a file is in the cache whole, or not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use llorch_parity::sha256_hex;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tempfile::TempDir;

use crate::server::{Answer, Request, Server};
use crate::support::outcome;

const REPO: &str = "someone/tiny-gpt2";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: &str = "model.safetensors";
const TOKEN: &str = "hf_secret";

/// The files of a repository.
#[derive(Clone)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// Those of the embedded model.
    fn tiny() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tiny");
        let names = ["config.json", "tokenizer.json", WEIGHTS, "README.md"];
        let read = |name: &str| fs::read(folder.join(name)).expect("a file");
        Files(names.map(|name| (name.to_owned(), read(name))).into())
    }

    fn weights(&self) -> &[u8] {
        &self.0[WEIGHTS]
    }

    /// What a hub says of them. Large files are kept beside git, and go by another hash.
    fn listing(&self) -> Value {
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
    fn answer(&self, request: &Request) -> Answer {
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
    fn but_weights(
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
struct Cache(TempDir);

impl Cache {
    fn new() -> Self {
        Cache(tempfile::tempdir().expect("a folder"))
    }

    fn folder(&self) -> PathBuf {
        let name = format!("hub/models--{}", REPO.replace('/', "--"));
        self.0.path().join(name)
    }

    fn snapshot(&self) -> PathBuf {
        self.folder().join("snapshots").join(COMMIT)
    }

    /// A file as the cache shows it.
    fn shown(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.snapshot().join(name)).ok()
    }

    fn partial(&self, files: &Files) -> PathBuf {
        let name = format!("{}.incomplete", sha256_hex(files.weights()));
        self.folder().join("blobs").join(name)
    }

    /// Nothing under a final name that is not what its name says, and no weights at all.
    fn assert_without_weights(&self, files: &Files) {
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

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(arguments)
            // Nobody's own hub, token or proxy.
            .env_clear()
            .env("HF_HOME", self.0.path())
            .envs(variables.iter().copied())
            .output()
            .expect("xtask runs")
    }

    fn fetch_with(&self, server: &Server, variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let address = server.address();
        let own = [("HF_ENDPOINT", address.as_str())];
        outcome(&self.run(&["fetch", REPO], &[&own, variables].concat()))
    }

    fn fetch(&self, server: &Server) -> (Option<i32>, String) {
        self.fetch_with(server, &[])
    }
}

/// The requests for weights, each with where it wanted them from.
fn asked(server: &Server) -> Vec<Option<usize>> {
    let requests = server.requests();
    let weights = requests.iter().filter(|r| r.path.ends_with(WEIGHTS));
    weights.map(Request::from).collect()
}

#[test]
fn a_model_comes_whole_and_once() {
    let (cache, files) = (Cache::new(), Files::tiny());
    let server = Server::new({
        let files = files.clone();
        move |request| files.answer(request)
    });
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(0), "{printed}");
    for name in ["config.json", "tokenizer.json", WEIGHTS] {
        assert_eq!(cache.shown(name).as_ref(), files.0.get(name), "{name}");
    }
    assert_eq!(cache.shown("README.md"), None, "nothing that nobody needs");
    let paths: Vec<String> = server.requests().into_iter().map(|r| r.path).collect();
    assert_eq!(
        paths,
        [
            format!("/api/models/{REPO}/revision/main?blobs=true"),
            format!("/{REPO}/resolve/{COMMIT}/config.json"),
            format!("/{REPO}/resolve/{COMMIT}/tokenizer.json"),
            format!("/{REPO}/resolve/{COMMIT}/{WEIGHTS}"),
        ]
    );

    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(printed.matches("was there").count(), 3, "{printed}");
    assert_eq!(server.requests().len(), 1, "the listing alone");

    // Whoever spoils the cache does not go unnoticed.
    let blob = cache
        .folder()
        .join("blobs")
        .join(sha256_hex(files.weights()));
    fs::write(&blob, vec![0; files.weights().len()]).expect("spoilt");
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(asked(&server), [None]);
    assert_eq!(cache.shown(WEIGHTS).as_deref(), Some(files.weights()));
}

#[test]
fn commands_find_what_was_fetched_by_its_name() {
    let (cache, files) = (Cache::new(), Files::tiny());
    let out = cache.0.path().join("trace.npz");
    let out = out.to_str().expect("UTF-8");
    let trace = [
        "trace", "--model", REPO, "--prompt", "My lord", "--out", out,
    ];
    let (code, printed) = outcome(&cache.run(&trace, &[]));
    assert_eq!(code, Some(2), "{printed}");
    let command = format!("cargo xtask fetch {REPO}");
    assert!(printed.contains(&command), "{printed}");

    let server = Server::new(move |request| files.answer(request));
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(0), "{printed}");
    let (code, printed) = outcome(&cache.run(&trace, &[]));
    assert_eq!(code, Some(0), "{printed}");

    // A folder that is called so comes before it.
    let folder = cache.0.path().join(REPO);
    fs::create_dir_all(&folder).expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(trace)
        .current_dir(cache.0.path())
        .env("HF_HOME", cache.0.path())
        .output();
    let (code, printed) = outcome(&output.expect("xtask runs"));
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("config.json"), "{printed}");
}

#[test]
fn shards_come_with_their_index_and_no_pickle_ever() {
    let (cache, mut files) = (Cache::new(), Files::tiny());
    let weights = files.0.remove(WEIGHTS).expect("weights");
    files.0.insert("pytorch_model.bin".to_owned(), vec![0; 10]);
    let shard = "model-00001-of-00001.safetensors";
    let names = safetensors::SafeTensors::deserialize(&weights).expect("safetensors");
    let map: BTreeMap<&str, &str> = names.names().into_iter().map(|key| (key, shard)).collect();
    let index = "model.safetensors.index.json";

    let without = files.clone();
    let server = Server::new(move |request| without.answer(request));
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("pickle"), "{printed}");
    assert_eq!(server.requests().len(), 1, "the listing alone");

    let outside = json!({ "weight_map": { "wte.weight": "../../config.json" } });
    files
        .0
        .insert(index.to_owned(), outside.to_string().into_bytes());
    files.0.insert(shard.to_owned(), weights.clone());
    let leads_out = files.clone();
    let server = Server::new(move |request| leads_out.answer(request));
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("../../config.json"), "{printed}");

    let good = json!({ "weight_map": map }).to_string().into_bytes();
    files.0.insert(index.to_owned(), good);
    let served = files.clone();
    let server = Server::new(move |request| served.answer(request));
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(0), "{printed}");
    for name in [index, shard] {
        assert_eq!(cache.shown(name).as_ref(), files.0.get(name), "{name}");
    }
    assert_eq!(cache.shown("pytorch_model.bin"), None);
}

#[test]
fn what_breaks_off_is_resumed_where_it_broke_off() {
    let (cache, files) = (Cache::new(), Files::tiny());
    let mut times = 0;
    let server = files.clone().but_weights(move |request, weights| {
        times += 1;
        let answer = Answer::to(request, weights);
        if times <= 2 {
            answer.cut(1_000_000)
        } else {
            answer
        }
    });
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(asked(&server), [None, Some(1_000_000), Some(2_000_000)]);
    assert_eq!(cache.shown(WEIGHTS).as_deref(), Some(files.weights()));
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_gave_up() {
    let (cache, files) = (Cache::new(), Files::tiny());
    let server = files
        .clone()
        .but_weights(|request, weights| Answer::to(request, weights).cut(1000));
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("broke off after 5000 of"), "{printed}");
    cache.assert_without_weights(&files);
    assert_eq!(asked(&server).len(), 5);

    let server = files.clone().but_weights(Answer::to);
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(asked(&server), [Some(5000)]);
    assert!(printed.contains("resumed"), "{printed}");
    assert_eq!(cache.shown(WEIGHTS).as_deref(), Some(files.weights()));
}

#[test]
fn a_server_that_knows_no_ranges_is_asked_for_all() {
    let (cache, files) = (Cache::new(), Files::tiny());
    let times = AtomicUsize::new(0);
    let server = files.clone().but_weights(move |_, weights| {
        let first = times.fetch_add(1, Ordering::SeqCst) == 0;
        let answer = Answer::whole(weights);
        if first { answer.cut(1000) } else { answer }
    });
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(asked(&server), [None, Some(1000)]);
    assert_eq!(cache.shown(WEIGHTS).as_deref(), Some(files.weights()));
}

#[test]
fn a_part_that_was_wrong_from_the_start_is_not_built_upon() {
    let (cache, files) = (Cache::new(), Files::tiny());
    let size = files.weights().len();
    // The first too long, the second as long as the file, the third a beginning of something else.
    for length in [size + 1, size, 1000] {
        let partial = cache.partial(&files);
        fs::create_dir_all(partial.parent().expect("a folder")).expect("a folder");
        fs::write(&partial, vec![7; length]).expect("a part");
        let server = files.clone().but_weights(Answer::to);
        let (code, printed) = cache.fetch(&server);
        assert_eq!(code, Some(0), "{printed}");
        let expected: &[_] = if length < size {
            &[Some(1000), None]
        } else {
            &[None]
        };
        assert_eq!(asked(&server), expected, "{length}");
        assert_eq!(cache.shown(WEIGHTS).as_deref(), Some(files.weights()));
        assert!(!partial.exists());
        fs::remove_dir_all(cache.folder()).expect("removed");
    }
}

#[test]
fn lies_are_refused_and_nothing_of_them_is_shown() {
    type Lie = fn(&Request, &[u8]) -> Answer;
    let lies: [(&str, Lie, &str); 6] = [
        (
            "a length that is too long",
            |_, weights| {
                let mut answer = Answer::whole(weights);
                answer.headers[0].1 = (weights.len() + 1).to_string();
                answer
            },
            "bytes as listed",
        ),
        (
            "a length that is too short",
            |_, weights| Answer::whole(&weights[1..]),
            "bytes as listed",
        ),
        (
            "no length, and too much",
            |_, weights| {
                let mut answer = Answer::whole(&[weights, b"x"].concat());
                answer.headers.clear();
                answer
            },
            "more are coming",
        ),
        (
            "no length, and too little",
            |request, weights| {
                let mut answer = Answer::to(request, &weights[..1000]);
                answer.headers.remove(0);
                answer
            },
            "expected bytes 1000-",
        ),
        (
            "another content",
            |_, weights| {
                let mut other = weights.to_vec();
                other[weights.len() - 1] ^= 1;
                Answer::whole(&other)
            },
            "nothing of it is kept",
        ),
        (
            "a part that was not asked for",
            |_, weights| Answer::rest(weights, 5),
            "206",
        ),
    ];
    for (lie, answer, says) in lies {
        let (cache, files) = (Cache::new(), Files::tiny());
        let server = files.clone().but_weights(answer);
        let (code, printed) = cache.fetch(&server);
        assert_eq!(code, Some(2), "{lie}: {printed}");
        assert!(printed.contains(says), "{lie}: {printed}");
        assert!(printed.contains(WEIGHTS), "{lie}: {printed}");
        cache.assert_without_weights(&files);
    }
}

#[test]
fn other_weights_are_not_taken_for_gpt2() {
    let cache = Cache::new();
    let files = Files::tiny();
    let server = Server::new(move |request| files.answer(request));
    let address = server.address();
    let fetch = ["fetch", "openai-community/gpt2"];
    let (code, printed) = outcome(&cache.run(&fetch, &[("HF_ENDPOINT", &address)]));
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("248dfc39"), "{printed}");
    assert_eq!(server.requests().len(), 1, "the listing alone");
}

#[test]
fn a_token_goes_to_the_hub_and_nowhere_else() {
    let (cache, files) = (Cache::new(), Files::tiny());
    let elsewhere = files.clone();
    let elsewhere = Server::new(move |request| elsewhere.answer(request));
    let target = elsewhere.on("localhost");
    let broken = AtomicUsize::new(0);
    let hub = Server::new(move |request| match &request.path {
        // The first time it breaks off, so that a range is asked for across the redirect too.
        path if path.ends_with(WEIGHTS) && broken.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::to(request, files.weights()).cut(1000)
        }
        path if path.ends_with(WEIGHTS) => Answer::redirect(format!("{target}{path}")),
        // A repository that has been renamed is still on the hub.
        path if path.contains("/someone/") && path.starts_with("/api") => {
            Answer::redirect(path.replace("/someone/", "/renamed/"))
        }
        _ => files.answer(request),
    });
    let (code, printed) = cache.fetch_with(&hub, &[("HF_TOKEN", TOKEN)]);
    assert_eq!(code, Some(0), "{printed}");
    let bearer = format!("Bearer {TOKEN}");
    let requests = hub.requests();
    assert_eq!(requests.len(), 6);
    for request in requests {
        assert_eq!(
            request.header("authorization"),
            Some(&*bearer),
            "{request:?}"
        );
    }
    let requests = elsewhere.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].from(), Some(1000));
    let said = format!("{:?}", requests[0]);
    assert!(!said.contains(TOKEN), "{said}");
    assert!(!printed.contains(TOKEN), "{printed}");
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let patience = [("HF_HUB_DOWNLOAD_TIMEOUT", "0.2")];
    let stalls: [(&str, fn(&[u8]) -> Answer); 2] = [
        ("at once", |weights| Answer::whole(weights).cut(0)),
        ("after a while", |weights| Answer::whole(weights).cut(1000)),
    ];
    for (when, answer) in stalls {
        let (cache, files) = (Cache::new(), Files::tiny());
        let server = files.clone().but_weights(move |request, weights| {
            let mut answer = match request.from() {
                None => answer(weights),
                Some(from) => Answer::rest(weights, from).cut(0),
            };
            answer.hangs = true;
            answer
        });
        let (code, printed) = cache.fetch_with(&server, &patience);
        assert_eq!(code, Some(2), "{when}: {printed}");
        assert!(printed.contains("timeout"), "{when}: {printed}");
        assert!(printed.contains("broke off"), "{when}: {printed}");
        cache.assert_without_weights(&files);
    }
}

#[test]
fn what_the_hub_refuses_is_explained() {
    let refusals: [(&str, &[(&str, &str)], &str); 6] = [
        ("401 Unauthorized", &[], "set HF_TOKEN"),
        ("401 Unauthorized", &[("HF_TOKEN", TOKEN)], "not valid"),
        ("403 Forbidden", &[("HF_TOKEN", TOKEN)], "ask for access"),
        ("404 Not Found", &[], "no such repository or revision"),
        ("429 Too Many Requests", &[], "try again later"),
        ("503 Service Unavailable", &[], "503"),
    ];
    for (status, variables, says) in refusals {
        let cache = Cache::new();
        let server = Server::new(move |_| Answer::status(status));
        let (code, printed) = cache.fetch_with(&server, variables);
        assert_eq!(code, Some(2), "{status}: {printed}");
        assert!(printed.contains(says), "{status}: {printed}");
        assert!(!printed.contains(TOKEN), "{status}: {printed}");
    }
    let server = Server::new(|_| Answer::whole(b"<html>Please log in</html>"));
    let (code, printed) = Cache::new().fetch(&server);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("no listing"), "{printed}");
}

#[test]
fn what_is_no_gpt2_is_refused_before_its_weights_come() {
    let (cache, mut files) = (Cache::new(), Files::tiny());
    let config = br#"{"model_type": "llama"}"#.to_vec();
    files.0.insert("config.json".to_owned(), config);
    let server = Server::new(move |request| files.answer(request));
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("model_type"), "{printed}");
    assert_eq!(asked(&server), []);
}

#[test]
fn offline_nothing_is_asked() {
    let (cache, files) = (Cache::new(), Files::tiny());
    let server = Server::new(move |request| files.answer(request));
    let offline = [("HF_HUB_OFFLINE", "1")];
    let (code, printed) = cache.fetch_with(&server, &offline);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("HF_HUB_OFFLINE"), "{printed}");
    assert_eq!(server.requests().len(), 0);

    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(0), "{printed}");
    server.requests();
    let (code, printed) = cache.fetch_with(&server, &offline);
    assert_eq!(code, Some(0), "{printed}");
    let path = cache.snapshot().display().to_string();
    assert!(printed.contains(&path), "{printed}");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn misuse_is_refused_before_anything_is_asked() {
    let server = Server::new(|_| Answer::status("404 Not Found"));
    let address = server.address();
    let misused: [(&[&str], &[(&str, &str)], &str); 5] = [
        (&["fetch", "../gpt2"], &[], "../gpt2"),
        (&["fetch", REPO, "--revision", "../x"], &[], "--revision"),
        (&["fetch"], &[], "<MODEL>"),
        (
            &["fetch", REPO],
            &[("HF_ENDPOINT", "ftp://x")],
            "HF_ENDPOINT",
        ),
        (
            &["fetch", REPO],
            &[("HF_HUB_DOWNLOAD_TIMEOUT", "0")],
            "TIMEOUT",
        ),
    ];
    for (arguments, variables, says) in misused {
        let cache = Cache::new();
        let variables = [&[("HF_ENDPOINT", address.as_str())], variables].concat();
        let (code, printed) = outcome(&cache.run(arguments, &variables));
        assert_eq!(code, Some(2), "{arguments:?}: {printed}");
        assert!(printed.contains(says), "{arguments:?}: {printed}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn two_at_once_do_not_write_one_file() {
    let (cache, files) = (Cache::new(), Files::tiny());
    let locks = format!("hub/.locks/models--{}", REPO.replace('/', "--"));
    let locks = cache.0.path().join(locks);
    fs::create_dir_all(&locks).expect("a folder");
    let name = format!("{}.lock", sha256_hex(files.weights()));
    let lock = fs::File::create(locks.join(name)).expect("a lock");
    lock.lock().expect("locked");
    let server = files.clone().but_weights(Answer::to);
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("another process"), "{printed}");
    assert_eq!(asked(&server), []);
    drop(lock);
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(0), "{printed}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_called_so() {
    let (cache, files) = (Cache::new(), Files::tiny());
    let partial = cache.partial(&files);
    fs::create_dir_all(partial.parent().expect("a folder")).expect("a folder");
    std::os::unix::fs::symlink("/dev/full", &partial).expect("a link");
    let server = files.clone().but_weights(Answer::to);
    let (code, printed) = cache.fetch(&server);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("No space left"), "{printed}");
    assert!(printed.contains("bytes are to come"), "{printed}");
    cache.assert_without_weights(&files);
    assert_eq!(asked(&server), [None], "asking again would not help");
}
