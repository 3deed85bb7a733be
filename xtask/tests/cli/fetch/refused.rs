//! What is refused, by the hub or before it is asked.

use std::fs;

use llorch_parity::sha256_hex;

use super::server::{Answer, Server};
use super::support::{Cache, Files, REPO, TOKEN, asked};
use crate::support::outcome;

type Variables = &'static [(&'static str, &'static str)];

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
fn what_the_hub_refuses_is_explained() {
    let refusals: [(&str, Variables, &str); 6] = [
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
    let misused: [(&[&str], Variables, &str); 5] = [
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
