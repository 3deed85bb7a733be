use std::fs;
use std::num::NonZeroUsize;

use llorch_model::Cpu;
use llorch_parity::{Tensor, sha256_hex};
use ndarray::IxDyn;

use super::*;
use crate::checkpoints::CHECKPOINTS;
use crate::port::Rooms;
use crate::root;
use crate::validate::evidence;
use crate::witnesses::tests::{copied, embedded, forge};

const LAYER_NORM: Checkpoint = CHECKPOINTS[0];
const BLOCKS: Checkpoint = CHECKPOINTS[6];
const LOGITS: Checkpoint = CHECKPOINTS[7];
const LAST_LOGITS: Checkpoint = CHECKPOINTS[8];

struct Scene {
    model: ModelDir,
    references: References,
}

impl Scene {
    fn new() -> Self {
        let (model, references) = embedded();
        Scene { model, references }
    }

    /// The committed witness of a name, its traces changed.
    fn juror(&self, name: &str, change: impl Fn(&str, Tensor) -> Option<Tensor>) -> Juror {
        let dir = folder(self.references.manifest.dir())
            .expect("a place")
            .join(name);
        let mut witness = Witness::open(&dir, &self.model).expect("it is committed");
        for trace in witness.traces.values_mut() {
            let mut changed = Trace::new();
            for (name, tensor) in trace.iter() {
                if let Some(tensor) = change(name, tensor.clone()) {
                    changed.insert(name, tensor).expect("a new name");
                }
            }
            *trace = changed;
        }
        Juror::new(witness, &self.references)
    }

    fn quorum(&self, jurors: Vec<Juror>) -> Quorum {
        let mut quorum = Quorum::open_in(None, "tiny", &self.model, &self.references);
        quorum.jurors = jurors;
        quorum
    }

    /// Our own judgement at a checkpoint, before these witnesses, and what they say.
    fn judge(&self, quorum: &Quorum, checkpoint: Checkpoint) -> (Judgement, Vec<Opinion>) {
        let cpu = Cpu::new(NonZeroUsize::MIN).expect("a thread");
        let rooms = Rooms::new(&self.model, &cpu, true).expect("our port");
        let run = Run {
            port: &rooms,
            model: &self.model,
            cases: &self.references.cases,
            missing: &self.references.missing,
            refs_command: "refs".to_owned(),
            evidence: evidence(&self.model, &self.references),
        };
        let opinions = quorum.opinions(&run, checkpoint);
        let tell = |judge: &mut Judge| quorum.weigh(checkpoint, &opinions, judge);
        (run.judge_with(checkpoint, tell), opinions)
    }

    /// Why it is INCONCLUSIVE.
    fn reasons(&self, quorum: &Quorum, checkpoint: Checkpoint) -> String {
        match self.judge(quorum, checkpoint).0.verdict() {
            Verdict::Inconclusive(reasons) => {
                let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
                reasons.join("\n")
            }
            verdict => panic!("expected INCONCLUSIVE, found {verdict}"),
        }
    }
}

fn same(_: &str, tensor: Tensor) -> Option<Tensor> {
    Some(tensor)
}

#[test]
fn the_whole_model_needs_another_that_others_wrote() {
    let scene = Scene::new();
    // transformers' own code with another attention kernel would share its mistakes.
    let kernels = vec![
        scene.juror("onnxruntime", same),
        scene.juror("hf-sdpa", same),
    ];
    let kernels = scene.quorum(kernels);
    assert!(scene.judge(&kernels, LAYER_NORM).0.verdict().is_pass());
    let said = scene.reasons(&kernels, BLOCKS);
    assert!(
        said.contains(ANOTHER) && said.contains("refs --model tiny --witness all"),
        "{said}"
    );

    let models = scene.quorum(vec![scene.juror("tinygrad", same)]);
    assert!(scene.judge(&models, BLOCKS).0.verdict().is_pass());
    // One that is too coarse for the logits is none there.
    let coarse = scene.quorum(vec![scene.juror("llama-cpp", same)]);
    assert!(scene.judge(&coarse, BLOCKS).0.verdict().is_pass());
    assert!(scene.reasons(&coarse, LOGITS).contains(ANOTHER));
}

#[test]
fn a_model_of_a_user_needs_none() {
    let mut scene = Scene::new();
    scene.model.is_embedded = false;
    let quorum = scene.quorum(Vec::new());
    assert!(scene.judge(&quorum, BLOCKS).0.verdict().is_pass());
    assert_eq!(quorum.absent().len(), NAMES.len());
}

#[test]
fn one_wrong_number_of_a_witness_is_dissent_and_no_pass() {
    let scene = Scene::new();
    for (name, checkpoint, site) in [
        ("onnxruntime", LAYER_NORM, "0/h.1.ln_1"),
        ("tinygrad", BLOCKS, "1/h.2.mlp.out"),
        ("mlx", LOGITS, "1/logits"),
    ] {
        let wrong = scene.juror(name, |at, tensor| {
            if at != site {
                return Some(tensor);
            }
            let mut values = tensor.view::<f32, IxDyn>()?.to_owned();
            *values.last_mut()? += 0.1;
            Some(Tensor::from(values))
        });
        let quorum = scene.quorum(vec![scene.juror("hf-sdpa", same), wrong]);
        let said = scene.reasons(&quorum, checkpoint);
        assert!(
            said.contains(&format!("expected {name} to agree")),
            "{said}"
        );
        assert!(said.contains(site), "{said}");
    }
}

#[test]
fn what_a_witness_should_show_and_does_not_is_no_agreement() {
    let scene = Scene::new();
    let partly = scene.juror("tinygrad", |at, tensor| (at != "1/h.3").then_some(tensor));
    let quorum = scene.quorum(vec![partly]);
    let (judgement, opinions) = scene.judge(&quorum, BLOCKS);
    let Says::Abstains(because) = &opinions[0].says else {
        panic!("{opinions:?}")
    };
    assert!(because.contains("1/h.3"), "{because}");
    assert!(!judgement.verdict().is_pass());
}

#[test]
fn an_error_above_half_of_the_bound_is_below_the_floor() {
    let scene = Scene::new();
    let quorum = scene.quorum(vec![
        scene.juror("llama-cpp", same),
        scene.juror("hf-sdpa", same),
    ]);
    let (_, opinions) = scene.judge(&quorum, LOGITS);
    let says = |at: usize| (&opinions[at].says, opinions[at].sites, opinions[at].of);
    let below = Says::Abstains(Stance::BelowFloor.to_string());
    assert_eq!(says(0), (&below, 0, 6));
    assert_eq!(says(1), (&Says::Agrees, 6, 6));
    let (_, opinions) = scene.judge(&quorum, LAYER_NORM);
    let hidden = Says::Abstains(Stance::NotShown.to_string());
    assert_eq!(opinions[1].says, hidden);
}

#[test]
fn a_damaged_witness_is_no_pass_and_one_of_other_references_is_absent() {
    let scene = Scene::new();
    let copy = copied();
    let path = copy.path();
    let open = || Quorum::open_in(path.parent(), "tiny", &scene.model, &scene.references);

    forge(&path, |about| {
        about["references_sha256"] = sha256_hex(b"others").into();
    });
    let quorum = open();
    assert!(scene.judge(&quorum, LAYER_NORM).0.verdict().is_pass());
    let stale = quorum
        .absent()
        .iter()
        .find(|absent| absent.witness == "onnxruntime");
    let because = &stale.expect("it is absent").because;
    assert!(
        because.contains("made beside other references"),
        "{because}"
    );

    let trace = path.join("two-tokens.isolated.npz");
    let mut bytes = fs::read(&trace).expect("a file");
    bytes[100] ^= 1;
    fs::write(&trace, bytes).expect("writing it back");
    let said = scene.reasons(&open(), LAYER_NORM);
    assert!(said.contains("two-tokens.isolated.npz"), "{said}");
}

#[test]
fn a_published_figure_judges_and_one_that_disagrees_is_no_pass() {
    let mut scene = Scene::new();
    scene.model.is_embedded = false;
    let file = root().join("xtask/tests/published/tiny.json");
    let text = fs::read_to_string(&file).expect("the figures about tiny");
    let mut quorum = scene.quorum(Vec::new());
    let judged = |quorum: &Quorum| scene.judge(quorum, LAST_LOGITS);

    quorum.published = Published::open(&file, &scene.model).expect("its form");
    let (judgement, opinions) = judged(&quorum);
    assert!(judgement.verdict().is_pass());
    assert_eq!(opinions[0].says, Says::Agrees);
    assert!(opinions[0].sites > 0);

    let (before, rest) = text
        .split_once("\"logit\":")
        .expect("a figure with a logit");
    let (logit, after) = rest.split_once(',').expect("another field");
    let logit: f64 = logit.trim().parse().expect("a number");
    let wrong = format!("{before}\"logit\": {},{after}", logit + 1.0);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("published.json");
    fs::write(&file, wrong).expect("writing it back");
    quorum.published = Published::open(&file, &scene.model).expect("its form");
    let (judgement, opinions) = judged(&quorum);
    assert!(
        matches!(opinions[0].says, Says::Dissents(_)),
        "{opinions:?}"
    );
    assert!(!judgement.verdict().is_pass());
}
