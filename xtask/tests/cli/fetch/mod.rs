//! `cargo xtask fetch` from a hub that is honest, slow, broken or false: a file is in the cache whole, or not.

mod broken;
mod refused;
mod server;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use llorch_parity::sha256_hex;
use serde_json::json;

use crate::support::outcome;
use server::{Answer, Server};
use support::{COMMIT, Cache, Files, REPO, TOKEN, WEIGHTS, asked};

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
