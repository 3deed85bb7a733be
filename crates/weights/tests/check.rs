//! Files against configs.

mod common;

use common::{CONFIG, Item, config, folder_of, item, model};
use llorch_weights::{Config, Error, Head, Report, Weights};

fn check(items: &[Item], config: &Config) -> Result<Report, Error> {
    Weights::open(folder_of(items).path())
        .unwrap()
        .check(config)
}

fn untied() -> Config {
    Config::from_json(&CONFIG.replace('{', r#"{"tie_word_embeddings": false, "#)).unwrap()
}

#[test]
fn a_whole_model_with_and_without_prefix() {
    for prefix in ["", "transformer."] {
        let report = check(&model(prefix), &config()).unwrap();
        assert_eq!((report.tensors, report.head), (16, Head::Tied));
        // V C + P C + 2 C (ln_1) + 3 C C + 3 C + C C + C + 2 C (ln_2) + C I + I + I C + C + 2 C (ln_f)
        assert_eq!(
            report.parameters,
            20 + 12 + 8 + 48 + 12 + 16 + 4 + 8 + 24 + 6 + 24 + 4 + 8
        );
        assert!(report.ignored.is_empty() && report.missing.is_empty());
    }
    // Some keys with, some without.
    let mixed = [&model("")[..9], &model("transformer.")[9..]].concat();
    assert_eq!(check(&mixed, &config()).unwrap().tensors, 16);
}

#[test]
fn mask_buffers_are_ignored() {
    let mut items = model("");
    for key in [
        "h.0.attn.bias",
        "transformer.h.0.attn.masked_bias",
        "h.10.attn.bias",
    ] {
        let mut buffer = item(key, &[1, 1, 2, 2], f32::NAN);
        buffer.dtype = "U8";
        buffer.shape = vec![16];
        items.push(buffer);
    }
    let report = check(&items, &config()).unwrap();
    assert_eq!(report.tensors, 16);
    assert_eq!(
        report.ignored,
        [
            "h.0.attn.bias",
            "h.10.attn.bias",
            "transformer.h.0.attn.masked_bias"
        ]
    );
}

#[test]
fn tensors_that_the_model_does_not_have() {
    let extra = [
        "h.1.ln_1.bias",
        "h.0.attn.c_attn.bias_v",
        "h.x.attn.bias",
        "attn.bias",
        "x.h.0.attn.bias",
        "score.weight",
        "transformer.transformer.wte.weight",
    ];
    for key in extra {
        let items = [model(""), vec![item(key, &[4], 0.0)]].concat();
        let error = check(&items, &config()).unwrap_err();
        assert!(
            matches!(&error, Error::Extra { names } if names == &[key]),
            "{error}"
        );
        assert!(error.to_string().contains(key), "{error}");
    }
    let two = ["score.weight", "extra.weight"].map(|key| item(key, &[4], 0.0));
    let error = check(&[model(""), two.to_vec()].concat(), &config()).unwrap_err();
    assert!(matches!(&error, Error::Extra { names } if names == &["extra.weight", "score.weight"]));
}

#[test]
fn every_missing_tensor_is_named() {
    let items = model("");
    for item in &items {
        let rest: Vec<Item> = items
            .iter()
            .filter(|other| other.key != item.key)
            .cloned()
            .collect();
        let error = check(&rest, &config()).unwrap_err();
        let Error::Missing { missing } = &error else {
            panic!("{error}")
        };
        assert_eq!(missing.len(), 1);
        assert_eq!(
            (&missing[0].name, &missing[0].shape),
            (&item.key, &item.shape)
        );
    }
    let error = check(&items[2..15], &config()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected the whole model, found 3 tensors missing: wte.weight [5, 4], wpe.weight [3, 4], \
         ln_f.bias [4]"
    );
}

#[test]
fn a_part_of_a_model_can_be_checked_as_such() {
    let dir = folder_of(&model("")[1..10]);
    let weights = Weights::open(dir.path()).unwrap();
    let report = weights.check_present(&config()).unwrap();
    assert_eq!((report.tensors, report.missing.len()), (9, 7));
    assert_eq!(report.missing, weights.missing(&config()));
    let misshapen = [item("ln_f.bias", &[5], 0.0)];
    let weights = folder_of(&misshapen);
    let error = Weights::open(weights.path())
        .unwrap()
        .check_present(&config())
        .unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
}

#[test]
fn every_misshapen_tensor_is_named() {
    let whole = model("");
    for at in 0..whole.len() {
        let mut items = whole.clone();
        let expected = items[at].shape.clone();
        items[at].shape.insert(0, 1);
        let error = check(&items, &config()).unwrap_err();
        let Error::Shape {
            name,
            expected: e,
            found,
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(
            (name, e, found),
            (&items[at].key, &expected, &items[at].shape)
        );
    }
}

#[test]
fn a_transposed_matrix_is_misshapen() {
    let mut items = model("");
    items[4].shape.reverse();
    let error = check(&items, &config()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "h.0.attn.c_attn.weight: expected shape [4, 12], found [12, 4]"
    );
}

#[test]
fn types_other_than_floats_of_up_to_32_bits() {
    for (dtype, size) in [
        ("I64", 8),
        ("I32", 4),
        ("U8", 1),
        ("BOOL", 1),
        ("F64", 8),
        ("F8_E4M3", 1),
    ] {
        let mut items = model("");
        items[3].dtype = dtype;
        items[3].bytes = vec![0; 4 * size];
        let error = check(&items, &config()).unwrap_err();
        let Error::Dtype { name, found } = &error else {
            panic!("{error}")
        };
        assert_eq!((&name[..], &found[..]), ("h.0.ln_1.bias", dtype));
        let dir = folder_of(&items);
        let weights = Weights::open(dir.path()).unwrap();
        let error = weights.tensor("h.0.ln_1.bias", &[4]).unwrap_err();
        assert!(matches!(error, Error::Dtype { .. }), "{error}");
    }
}

/// As transformers 5.23 does; see the first page of the documentation.
#[test]
fn the_head_of_a_tied_config() {
    let wte = model("").remove(0);
    for (lm_head, kind, first) in [
        (None, Head::Tied, 0.0),
        (
            Some(Item {
                key: "lm_head.weight".into(),
                ..wte
            }),
            Head::Tied,
            0.0,
        ),
        (Some(item("lm_head.weight", &[5, 4], 7.0)), Head::Own, 7.0),
        (
            Some(item("transformer.lm_head.weight", &[5, 4], 7.0)),
            Head::Own,
            7.0,
        ),
    ] {
        let items: Vec<Item> = model("transformer.").into_iter().chain(lm_head).collect();
        let dir = folder_of(&items);
        let weights = Weights::open(dir.path()).unwrap();
        assert_eq!(weights.check(&config()).unwrap().head, kind);
        let head = weights.head(&config()).unwrap();
        assert_eq!((head.shape(), head.as_slice()[0]), (&[5, 4][..], first));
    }
    let misshapen = [model(""), vec![item("lm_head.weight", &[4, 5], 0.0)]].concat();
    assert!(matches!(
        check(&misshapen, &config()),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn the_head_of_an_untied_config() {
    let dir = folder_of(&model(""));
    let weights = Weights::open(dir.path()).unwrap();
    assert!(matches!(weights.check(&untied()), Err(Error::NoHead)));
    assert!(matches!(weights.head(&untied()), Err(Error::NoHead)));
    assert_eq!(weights.missing(&untied())[0].name, "lm_head.weight");

    let own = [model(""), vec![item("lm_head.weight", &[5, 4], 7.0)]].concat();
    let dir = folder_of(&own);
    let weights = Weights::open(dir.path()).unwrap();
    let report = weights.check(&untied()).unwrap();
    assert_eq!((report.tensors, report.head), (17, Head::Own));
    assert_eq!(weights.head(&untied()).unwrap().as_slice()[0], 7.0);
}

/// 124,439,808 is what everybody reports for GPT-2 small.
#[test]
fn the_tensors_of_the_real_sizes() {
    let dir = folder_of(&[]);
    let weights = Weights::open(dir.path()).unwrap();
    for (config, tensors, parameters) in [
        ("{}", 148, 124_439_808),
        (
            r#"{"n_embd": 1024, "n_head": 16, "n_layer": 24}"#,
            292,
            354_823_168,
        ),
        (
            r#"{"n_embd": 1280, "n_head": 20, "n_layer": 36}"#,
            436,
            774_030_080,
        ),
        (
            r#"{"n_embd": 1600, "n_head": 25, "n_layer": 48}"#,
            580,
            1_557_611_200,
        ),
    ] {
        let list = weights.expected(&Config::from_json(config).unwrap());
        let sum: usize = list
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        assert_eq!((list.len(), sum), (tensors, parameters), "{config}");
    }
}
