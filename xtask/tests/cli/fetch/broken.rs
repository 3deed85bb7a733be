//! Connections that break off or stall, answers that are false, a disk that is full.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::{Answer, Request};
use super::support::{Cache, Files, WEIGHTS, asked};

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
fn a_server_that_stalls_is_given_up() {
    let patience = [("HF_HUB_DOWNLOAD_TIMEOUT", "0.2")];
    for (when, comes) in [("at once", 0), ("after a while", 1000)] {
        let (cache, files) = (Cache::new(), Files::tiny());
        let server = files.clone().but_weights(move |request, weights| {
            let comes = if request.from().is_none() { comes } else { 0 };
            let mut answer = Answer::to(request, weights).cut(comes);
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
