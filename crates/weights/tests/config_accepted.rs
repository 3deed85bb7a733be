//! Configs that are read, and the numbers in them.

use llorch_weights::{Activation, Config, ConfigError};

fn read(json: &str) -> Config {
    Config::from_json(json).unwrap()
}

/// `(n_embd, n_head, n_layer, n_positions, vocab_size, n_inner)`
fn sizes(c: &Config) -> [usize; 6] {
    [
        c.n_embd(),
        c.n_head(),
        c.n_layer(),
        c.n_positions(),
        c.vocab_size(),
        c.n_inner(),
    ]
}

#[test]
fn an_empty_config_has_the_defaults_of_gpt2config() {
    let config = read("{}");
    assert_eq!(sizes(&config), [768, 12, 12, 1024, 50257, 3072]);
    assert_eq!(config.layer_norm_epsilon(), 1e-5);
    assert_eq!(config.activation(), Activation::GeluTanh);
    assert!(!config.scale_attn_by_inverse_layer_idx());
    assert!(config.tie_word_embeddings());
    assert_eq!(config.bos_token_id(), Some(50256));
    assert_eq!(config.eos_token_ids(), [50256]);
}

#[test]
fn the_attention_half_of_124m() {
    let config = read(
        r#"{"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
            "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256,
            "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2",
            "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
            "resid_pdrop": 0.1, "vocab_size": 50257}"#,
    );
    assert_eq!(config, read("{}"));
    assert_eq!(config.head_dim(), 64);
}

#[test]
fn gpt2_medium_as_the_hub_serves_it() {
    let config = read(
        r#"{"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
            "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256,
            "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2",
            "n_ctx": 1024, "n_embd": 1024, "n_head": 16, "n_layer": 24, "n_positions": 1024,
            "n_special": 0, "predict_special_tokens": true, "resid_pdrop": 0.1,
            "summary_activation": null, "summary_first_dropout": 0.1,
            "summary_proj_to_labels": true, "summary_type": "cls_index", "summary_use_proj": true,
            "task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}},
            "vocab_size": 50257}"#,
    );
    assert_eq!(sizes(&config), [1024, 16, 24, 1024, 50257, 4096]);
}

#[test]
fn distilgpt2_as_the_hub_serves_it() {
    let config = read(
        r#"{"_num_labels": 1, "activation_function": "gelu_new",
            "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1, "bos_token_id": 50256,
            "embd_pdrop": 0.1, "eos_token_id": 50256, "id2label": {"0": "LABEL_0"},
            "initializer_range": 0.02, "label2id": {"LABEL_0": 0}, "layer_norm_epsilon": 1e-05,
            "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 6,
            "n_positions": 1024, "resid_pdrop": 0.1, "summary_activation": null,
            "summary_first_dropout": 0.1, "summary_proj_to_labels": true,
            "summary_type": "cls_index", "summary_use_proj": true,
            "task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}},
            "vocab_size": 50257}"#,
    );
    assert_eq!(sizes(&config), [768, 12, 6, 1024, 50257, 3072]);
}

#[test]
fn what_transformers_5_writes() {
    let config = read(
        r#"{"activation_function": "gelu_pytorch_tanh", "add_cross_attention": false,
            "architectures": null, "attn_pdrop": 0.1, "bos_token_id": 0, "dtype": "float32",
            "embd_pdrop": 0.1, "eos_token_id": 0, "initializer_range": 0.02,
            "layer_norm_epsilon": 1e-06, "model_type": "gpt2", "n_embd": 144, "n_head": 6,
            "n_inner": null, "n_layer": 4, "n_positions": 160, "pad_token_id": null,
            "reorder_and_upcast_attn": false, "resid_pdrop": 0.1,
            "scale_attn_by_inverse_layer_idx": false, "scale_attn_weights": true,
            "summary_activation": null, "summary_first_dropout": 0.1,
            "summary_proj_to_labels": true, "summary_type": "cls_index", "summary_use_proj": true,
            "tie_word_embeddings": true, "transformers_version": "5.23.0", "use_cache": true,
            "_name_or_path": "x", "chunk_size_feed_forward": 0, "id2label": {}, "label2id": {},
            "is_encoder_decoder": false, "output_attentions": false, "output_hidden_states": false,
            "problem_type": null, "return_dict": true, "vocab_size": 1000}"#,
    );
    assert_eq!(sizes(&config), [144, 6, 4, 160, 1000, 576]);
    assert_eq!(config.layer_norm_epsilon(), 1e-6);
    assert_eq!(config.activation(), Activation::GeluTanh);
}

#[test]
fn a_fine_tune_of_transformers_4() {
    let config = read(
        r#"{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "torch_dtype": "float16",
            "gradient_checkpointing": false, "tie_encoder_decoder": false, "pruned_heads": {},
            "is_decoder": false, "torchscript": false, "use_bfloat16": false, "prefix": null,
            "finetuning_task": null, "tokenizer_class": "GPT2Tokenizer", "sep_token_id": null,
            "cross_attention_hidden_size": null, "do_sample": true, "temperature": 0.7,
            "top_k": 50, "top_p": 1.0, "max_length": 20, "num_beams": 1, "bad_words_ids": null,
            "repetition_penalty": 1.2, "no_repeat_ngram_size": 0, "return_dict_in_generate": false,
            "tf_legacy_loss": false, "_attn_implementation_autoset": true,
            "output_past": true, "pad_token_id": 50257, "vocab_size": 50258}"#,
    );
    assert_eq!(sizes(&config), [768, 12, 12, 1024, 50258, 3072]);
}

#[test]
fn settings_that_are_honoured() {
    let config = read(
        r#"{"n_embd": 12, "n_head": 3, "n_inner": 20, "layer_norm_epsilon": 0.001,
            "scale_attn_by_inverse_layer_idx": true, "tie_word_embeddings": false}"#,
    );
    assert_eq!((config.n_inner(), config.head_dim()), (20, 4));
    assert_eq!(config.layer_norm_epsilon(), 1e-3);
    assert!(config.scale_attn_by_inverse_layer_idx());
    assert!(!config.tie_word_embeddings());
    assert_eq!(config.attention_scale(0), 0.5);
    assert_eq!(config.attention_scale(3), 0.125);
    assert_eq!(
        read(r#"{"n_embd": 48, "n_head": 2}"#).attention_scale(3),
        1.0 / 24f64.sqrt()
    );
}

#[test]
fn activations() {
    for (name, activation) in [
        ("gelu_new", Activation::GeluTanh),
        ("gelu_pytorch_tanh", Activation::GeluTanh),
        ("gelu", Activation::GeluErf),
        ("relu", Activation::Relu),
    ] {
        let config = read(&format!(r#"{{"activation_function": "{name}"}}"#));
        assert_eq!(config.activation(), activation, "{name}");
    }
}

#[test]
fn aliases_stand_for_the_fields_and_may_repeat_them() {
    let config = read(
        r#"{"hidden_size": 10, "num_attention_heads": 5, "num_hidden_layers": 2,
            "max_position_embeddings": 7, "n_layer": 2}"#,
    );
    assert_eq!(sizes(&config), [10, 5, 2, 7, 50257, 40]);
}

#[test]
fn token_ids_may_be_lists_null_or_outside_the_vocabulary() {
    let config = read(r#"{"vocab_size": 10, "bos_token_id": null, "eos_token_id": [3, 50256]}"#);
    assert_eq!(config.bos_token_id(), None);
    assert_eq!(config.eos_token_ids(), [3, 50256]);
    assert_eq!(read(r#"{"vocab_size": 10}"#).bos_token_id(), Some(50256));
    assert!(read(r#"{"eos_token_id": null}"#).eos_token_ids().is_empty());
}

#[test]
fn architectures_with_the_same_trunk() {
    for list in [
        r#"["GPT2Model"]"#,
        r#"["GPT2DoubleHeadsModel", "GPT2LMHeadModel"]"#,
        "null",
    ] {
        assert_eq!(
            read(&format!(r#"{{"architectures": {list}}}"#)),
            read("{}"),
            "{list}"
        );
    }
}

#[test]
fn a_folder_is_opened_and_its_path_is_in_every_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let error = Config::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, ConfigError::Read { path: p, .. } if *p == path),
        "{error}"
    );
    assert!(
        error.to_string().contains(&path.display().to_string()),
        "{error}"
    );

    std::fs::write(&path, r#"{"n_head": 5}"#).unwrap();
    let error = Config::open(dir.path()).unwrap_err();
    let ConfigError::In { source, .. } = &error else {
        panic!("{error}")
    };
    assert!(
        matches!(
            **source,
            ConfigError::HeadsDoNotDivide {
                n_embd: 768,
                n_head: 5
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains(&path.display().to_string()),
        "{error}"
    );

    std::fs::write(&path, "{}").unwrap();
    assert_eq!(Config::open(dir.path()).unwrap(), read("{}"));
}
