//! Configs that are refused, and how.

use llorch_weights::{Config, ConfigError};

fn refused(json: &str) -> ConfigError {
    match Config::from_json(json) {
        Err(error) => error,
        Ok(config) => panic!("{json} was accepted as {config:?}"),
    }
}

#[test]
fn malformed_json_is_placed() {
    let error = refused("{\n  \"n_embd\": 768,\n  \"n_head\" 12\n}");
    assert!(matches!(error, ConfigError::Json(_)), "{error}");
    assert!(
        error.to_string().ends_with("at line 3 column 12"),
        "{error}"
    );
    for text in [
        "",
        "{",
        "[]",
        "null",
        "{} {}",
        "{\"layer_norm_epsilon\": NaN}",
        "{\"n_head\": 1e999}",
    ] {
        assert!(matches!(refused(text), ConfigError::Json(_)), "{text}");
    }
    let error = refused("[]").to_string();
    assert!(error.contains("expected a JSON object"), "{error}");
}

#[test]
fn a_field_given_twice() {
    let error = refused(r#"{"n_head": 12, "n_layer": 12, "n_head": 6}"#);
    assert!(
        matches!(&error, ConfigError::DuplicateField { field } if field == "n_head"),
        "{error}"
    );
}

#[test]
fn what_was_found_is_quoted_as_it_stands() {
    assert_eq!(
        refused(r#"{"eos_token_id": "2"}"#).to_string(),
        r#"eos_token_id: expected a token id, a list of them or null, found "2""#
    );
}

#[test]
fn values_of_another_type() {
    for (field, value) in [
        ("n_embd", "\"768\""),
        ("n_embd", "768.0"),
        ("n_embd", "-768"),
        ("n_layer", "null"),
        ("n_inner", "[]"),
        ("layer_norm_epsilon", "\"1e-5\""),
        ("activation_function", "null"),
        ("scale_attn_by_inverse_layer_idx", "1"),
        ("tie_word_embeddings", "null"),
        ("bos_token_id", "-1"),
        ("eos_token_id", "[1, \"2\"]"),
        ("eos_token_id", "4294967296"),
        ("model_type", "null"),
        ("architectures", "\"GPT2LMHeadModel\""),
    ] {
        let error = refused(&format!(r#"{{"{field}": {value}}}"#));
        assert!(
            matches!(&error, ConfigError::WrongType { field: f, .. } if f == field),
            "{field}: {error}"
        );
    }
    let error = refused(r#"{"n_head": "12"}"#);
    assert_eq!(
        error.to_string(),
        r#"n_head: expected a positive whole number, found "12""#
    );
}

#[test]
fn an_alias_that_contradicts_its_field() {
    for (name, other) in [
        ("n_embd", "hidden_size"),
        ("n_head", "num_attention_heads"),
        ("n_layer", "num_hidden_layers"),
        ("n_positions", "max_position_embeddings"),
    ] {
        let error = refused(&format!(r#"{{"{other}": 6, "{name}": 12}}"#));
        let ConfigError::Conflict {
            field,
            alias,
            value: 12,
            alias_value: 6,
        } = error
        else {
            panic!("{error}")
        };
        assert_eq!((field, alias), (name, other));
    }
}

#[test]
fn sizes_of_zero_and_sizes_too_large() {
    for (name, most) in [
        ("n_embd", 1 << 20),
        ("n_head", 1 << 20),
        ("n_layer", 1 << 12),
        ("n_inner", 1 << 22),
        ("n_positions", 1 << 24),
        ("vocab_size", 1 << 24),
    ] {
        let error = refused(&format!(r#"{{"{name}": 0}}"#));
        assert!(
            matches!(error, ConfigError::Zero { field } if field == name),
            "{error}"
        );
        for size in [most + 1, usize::MAX] {
            let error = refused(&format!(r#"{{"{name}": {size}}}"#));
            let ConfigError::TooLarge {
                field,
                limit,
                found,
            } = error
            else {
                panic!("{error}")
            };
            assert_eq!((field, limit, found), (name, most, size));
        }
    }
    let largest = r#"{"n_embd": 1048576, "n_head": 1048576, "n_layer": 4096, "n_positions": 16777216,
        "vocab_size": 16777216}"#;
    assert_eq!(Config::from_json(largest).unwrap().n_inner(), 1 << 22);
}

#[test]
fn heads_that_do_not_divide_the_width() {
    let error = refused(r#"{"n_embd": 768, "n_head": 10}"#);
    assert!(
        matches!(
            error,
            ConfigError::HeadsDoNotDivide {
                n_embd: 768,
                n_head: 10
            }
        ),
        "{error}"
    );
    assert!(matches!(
        refused(r#"{"n_embd": 4, "n_head": 8}"#),
        ConfigError::HeadsDoNotDivide { .. }
    ));
}

#[test]
fn an_epsilon_that_is_not_positive() {
    for value in ["0", "-1e-5", "0.0", "1e-999"] {
        let error = refused(&format!(r#"{{"layer_norm_epsilon": {value}}}"#));
        assert!(
            matches!(error, ConfigError::Epsilon { .. }),
            "{value}: {error}"
        );
    }
}

#[test]
fn other_activations_and_other_models() {
    for name in ["gelu_fast", "quick_gelu", "silu", "GELU", ""] {
        let error = refused(&format!(r#"{{"activation_function": "{name}"}}"#));
        assert!(
            matches!(&error, ConfigError::Activation { found } if found == name),
            "{error}"
        );
    }
    let error = refused(r#"{"model_type": "gpt_neo"}"#);
    assert!(
        matches!(&error, ConfigError::ModelType { found } if found == "gpt_neo"),
        "{error}"
    );
    for list in [
        r#"["GPT2ForSequenceClassification"]"#,
        r#"["GPT2DoubleHeadsModel"]"#,
        "[]",
    ] {
        let error = refused(&format!(r#"{{"architectures": {list}}}"#));
        assert!(
            matches!(error, ConfigError::Architectures { .. }),
            "{list}: {error}"
        );
    }
}

#[test]
fn values_that_change_the_numbers() {
    for (name, value) in [
        ("scale_attn_weights", "false"),
        ("scale_attn_weights", "null"),
        ("reorder_and_upcast_attn", "true"),
        ("add_cross_attention", "true"),
        ("cross_attention_hidden_size", "768"),
        ("is_encoder_decoder", "true"),
        ("tie_encoder_decoder", "true"),
        ("pruned_heads", r#"{"0":[1]}"#),
        ("quantization_config", r#"{"load_in_8bit":true}"#),
        ("per_layer_config", r#"{"0":{"n_inner":8}}"#),
        ("use_bfloat16", "true"),
        ("auto_map", r#"{"AutoModelForCausalLM":"mine.Model"}"#),
    ] {
        let error = refused(&format!(r#"{{"{name}": {value}}}"#));
        let ConfigError::Unsupported { field, found, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((&field[..], &found[..]), (name, value));
    }
    assert_eq!(
        refused(r#"{"scale_attn_weights": false}"#).to_string(),
        "scale_attn_weights: expected true (anything else changes the numbers), found false"
    );
}

#[test]
fn fields_that_nobody_knows() {
    for name in [
        "rope_theta",
        "rope_scaling",
        "sliding_window",
        "is_causal",
        "hidden_act",
        "layer_norm_eps",
        "intermediate_size",
        "transformers_weights",
        "N_embd",
        "",
    ] {
        let error = refused(&format!(r#"{{"{name}": null}}"#));
        assert!(
            matches!(&error, ConfigError::UnknownField { field } if field == name),
            "{error}"
        );
    }
}

#[test]
fn a_damaged_config_is_refused_or_still_sound() {
    let text = r#"{"n_embd": 12, "n_head": 3, "n_layer": 2, "layer_norm_epsilon": 1e-05,
        "eos_token_id": [1, 2], "architectures": ["GPT2LMHeadModel"]}"#;
    let mut refusals = 0;
    for at in 0..text.len() {
        assert!(Config::from_json(&text[..at]).is_err(), "cut at {at}");
        for byte in 0..128 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = byte;
            match Config::from_json(std::str::from_utf8(&bytes).unwrap()) {
                Ok(config) => {
                    assert_eq!(config.head_dim() * config.n_head(), config.n_embd());
                    assert!(config.layer_norm_epsilon() > 0.0);
                }
                Err(_) => refusals += 1,
            }
        }
    }
    assert!(refusals > text.len() * 50, "{refusals}");
}
