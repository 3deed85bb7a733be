//! The rooms, built from a file's tensors. A part can be built where the rest of the model is missing.

use llorch_attention::Attention;
use llorch_layernorm::LayerNorm;
use llorch_mlp::{Activation, Mlp};
use llorch_qkv::Qkv;
use llorch_weights::{Config, Weights};

use crate::Error;

/// The layer normalisation under `name`: `h.0.ln_1`, `h.0.ln_2`, ..., `ln_f`.
///
/// # Errors
/// [`Error::Weights`] where a tensor is missing or refused.
pub fn layer_norm(weights: &Weights, config: &Config, name: &str) -> Result<LayerNorm, Error> {
    let shape = [config.n_embd()];
    let weight = weights.tensor(&format!("{name}.weight"), &shape)?;
    let bias = weights.tensor(&format!("{name}.bias"), &shape)?;
    let epsilon = config.layer_norm_epsilon();
    Ok(LayerNorm::new(weight.view1()?, bias.view1()?, epsilon)?)
}

/// The projection into queries, keys and values of a layer, counted from 0.
///
/// # Errors
/// [`Error::Weights`] where a tensor is missing or refused.
pub fn qkv(weights: &Weights, config: &Config, layer: usize) -> Result<Qkv, Error> {
    let name = format!("h.{layer}.attn.c_attn");
    let channels = config.n_embd();
    let weight = weights.tensor(&format!("{name}.weight"), &[channels, 3 * channels])?;
    let bias = weights.tensor(&format!("{name}.bias"), &[3 * channels])?;
    Ok(Qkv::new(weight.view2()?, bias.view1()?, config.n_head())?)
}

/// The attention of a layer, counted from 0, with the scale that the config asks for.
///
/// # Errors
/// [`Error::Weights`] where a tensor is missing or refused.
pub fn attention(weights: &Weights, config: &Config, layer: usize) -> Result<Attention, Error> {
    let name = format!("h.{layer}.attn.c_proj");
    let channels = config.n_embd();
    let weight = weights.tensor(&format!("{name}.weight"), &[channels, channels])?;
    let bias = weights.tensor(&format!("{name}.bias"), &[channels])?;
    let attention = Attention::new(weight.view2()?, bias.view1()?, config.n_head())?;
    Ok(attention.with_scale(config.attention_scale(layer))?)
}

/// The feed-forward layer of a layer, counted from 0, with the config's activation.
///
/// # Errors
/// [`Error::Weights`] where a tensor is missing or refused.
pub fn mlp(weights: &Weights, config: &Config, layer: usize) -> Result<Mlp, Error> {
    let tensor =
        |name: &str, shape: &[usize]| weights.tensor(&format!("h.{layer}.mlp.{name}"), shape);
    let (channels, inner) = (config.n_embd(), config.n_inner());
    let activation = match config.activation() {
        llorch_weights::Activation::GeluTanh => Activation::GeluTanh,
        llorch_weights::Activation::GeluErf => Activation::GeluErf,
        llorch_weights::Activation::Relu => Activation::Relu,
    };
    Ok(Mlp::new(
        tensor("c_fc.weight", &[channels, inner])?.view2()?,
        tensor("c_fc.bias", &[inner])?.view1()?,
        tensor("c_proj.weight", &[inner, channels])?.view2()?,
        tensor("c_proj.bias", &[channels])?.view1()?,
        activation,
    )?)
}
