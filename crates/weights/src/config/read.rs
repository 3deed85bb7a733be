//! From the text of a config.json to a checked [`Config`].

use serde_json::Value;

use super::{
    Activation, Config, ConfigError,
    fields::{ACCEPTED, FIXED},
};
use crate::json::Pairs;

const MAX_LAYERS: usize = 1 << 12;
const MAX_WIDTH: usize = 1 << 20;
const MAX_ROWS: usize = 1 << 24;

// Fields are taken out one by one: what is left at the end is what nothing here understands.
pub(super) fn config(text: &str) -> Result<Config, ConfigError> {
    let mut fields = Fields::parse(text)?;
    model_type(&mut fields)?;
    architectures(&mut fields)?;
    let n_embd = fields.size("n_embd", Some("hidden_size"), 768, MAX_WIDTH)?;
    if fields.get("n_inner") == Some(&Value::Null) {
        fields.take("n_inner");
    }
    let config = Config {
        n_embd,
        n_inner: fields.size("n_inner", None, 4 * n_embd, 4 * MAX_WIDTH)?,
        n_head: fields.size("n_head", Some("num_attention_heads"), 12, MAX_WIDTH)?,
        n_layer: fields.size("n_layer", Some("num_hidden_layers"), 12, MAX_LAYERS)?,
        n_positions: fields.size(
            "n_positions",
            Some("max_position_embeddings"),
            1024,
            MAX_ROWS,
        )?,
        vocab_size: fields.size("vocab_size", None, 50257, MAX_ROWS)?,
        layer_norm_epsilon: epsilon(&mut fields)?,
        activation: activation(&mut fields)?,
        scale_attn_by_inverse_layer_idx: fields.flag("scale_attn_by_inverse_layer_idx", false)?,
        tie_word_embeddings: fields.flag("tie_word_embeddings", true)?,
        bos_token_id: bos(&mut fields)?,
        eos_token_ids: eos(&mut fields)?,
    };
    fields.finish()?;
    if !config.n_embd.is_multiple_of(config.n_head) {
        let Config { n_embd, n_head, .. } = config;
        return Err(ConfigError::HeadsDoNotDivide { n_embd, n_head });
    }
    Ok(config)
}

fn model_type(fields: &mut Fields) -> Result<(), ConfigError> {
    match fields.take("model_type") {
        None => Ok(()),
        Some(Value::String(name)) if name == "gpt2" => Ok(()),
        Some(Value::String(found)) => Err(ConfigError::ModelType { found }),
        Some(found) => Err(wrong("model_type", "a string", &found)),
    }
}

fn architectures(fields: &mut Fields) -> Result<(), ConfigError> {
    let value = match fields.take("architectures") {
        None | Some(Value::Null) => return Ok(()),
        Some(value) => value,
    };
    let found: Vec<String> = serde_json::from_value(value.clone())
        .map_err(|_| wrong("architectures", "a list of strings", &value))?;
    match found
        .iter()
        .any(|name| name == "GPT2LMHeadModel" || name == "GPT2Model")
    {
        true => Ok(()),
        false => Err(ConfigError::Architectures { found }),
    }
}

fn epsilon(fields: &mut Fields) -> Result<f64, ConfigError> {
    let Some(value) = fields.take("layer_norm_epsilon") else {
        return Ok(1e-5);
    };
    let expected = "a number";
    let found = value
        .as_f64()
        .ok_or_else(|| wrong("layer_norm_epsilon", expected, &value))?;
    match found.is_finite() && found > 0.0 {
        true => Ok(found),
        false => Err(ConfigError::Epsilon { found }),
    }
}

fn activation(fields: &mut Fields) -> Result<Activation, ConfigError> {
    match fields.take("activation_function") {
        None => Ok(Activation::GeluTanh),
        Some(Value::String(found)) => match &found[..] {
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "gelu" => Ok(Activation::GeluErf),
            "relu" => Ok(Activation::Relu),
            _ => Err(ConfigError::Activation { found }),
        },
        Some(found) => Err(wrong("activation_function", "a string", &found)),
    }
}

/// The id that GPT2Config has for bos and eos where the file is silent.
const END_OF_TEXT: u32 = 50256;

fn bos(fields: &mut Fields) -> Result<Option<u32>, ConfigError> {
    match fields.take("bos_token_id") {
        None => Ok(Some(END_OF_TEXT)),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|_| wrong("bos_token_id", "a token id or null", &value)),
    }
}

fn eos(fields: &mut Fields) -> Result<Vec<u32>, ConfigError> {
    let Some(value) = fields.take("eos_token_id") else {
        return Ok(vec![END_OF_TEXT]);
    };
    let list = match &value {
        Value::Null => return Ok(Vec::new()),
        list @ Value::Array(_) => list.clone(),
        one => Value::Array(vec![one.clone()]),
    };
    serde_json::from_value(list)
        .map_err(|_| wrong("eos_token_id", "a token id, a list of them or null", &value))
}

/// The fields that have not been understood yet.
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let pairs: Pairs<Value> = serde_json::from_str(text).map_err(ConfigError::Json)?;
        match pairs.duplicate() {
            None => Ok(Self(pairs.0)),
            Some(field) => Err(ConfigError::DuplicateField {
                field: field.to_string(),
            }),
        }
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(name, _)| name == field)
            .map(|(_, value)| value)
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        let at = self.0.iter().position(|(name, _)| name == field)?;
        Some(self.0.remove(at).1)
    }

    fn whole(&mut self, field: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        let whole = value.as_u64().and_then(|n| usize::try_from(n).ok());
        match whole {
            Some(n) => Ok(Some(n)),
            None => Err(wrong(field, "a positive whole number", &value)),
        }
    }

    fn size(
        &mut self,
        field: &'static str,
        alias: Option<&'static str>,
        default: usize,
        limit: usize,
    ) -> Result<usize, ConfigError> {
        let own = self.whole(field)?;
        let other = alias.map_or(Ok(None), |alias| self.whole(alias))?;
        if let (Some(value), Some(alias), Some(alias_value)) = (own, alias, other)
            && value != alias_value
        {
            return Err(ConfigError::Conflict {
                field,
                alias,
                value,
                alias_value,
            });
        }
        match own.or(other).unwrap_or(default) {
            0 => Err(ConfigError::Zero { field }),
            found if found > limit => Err(ConfigError::TooLarge {
                field,
                limit,
                found,
            }),
            size => Ok(size),
        }
    }

    fn flag(&mut self, field: &str, default: bool) -> Result<bool, ConfigError> {
        match self.take(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(found) => Err(wrong(field, "true or false", &found)),
        }
    }

    /// Every field left must be one whose value is fixed, or one that has no effect.
    fn finish(self) -> Result<(), ConfigError> {
        for (field, value) in self.0 {
            let found = value.to_string();
            match FIXED.iter().find(|(name, _)| *name == field) {
                Some((_, allowed)) if allowed.contains(&&found[..]) => {}
                Some((_, allowed)) => {
                    return Err(ConfigError::Unsupported {
                        field,
                        expected: allowed.join(" or "),
                        found,
                    });
                }
                None if ACCEPTED.contains(&&field[..]) => {}
                None => return Err(ConfigError::UnknownField { field }),
            }
        }
        Ok(())
    }
}

fn wrong(field: &str, expected: &'static str, found: &Value) -> ConfigError {
    ConfigError::WrongType {
        field: field.to_string(),
        expected,
        found: found.to_string(),
    }
}
