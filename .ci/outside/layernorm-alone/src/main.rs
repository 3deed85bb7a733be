use llorch_layernorm::LayerNorm;
use llorch_layernorm::ndarray::{Array3, arr1, s};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let norm = LayerNorm::new(arr1(&[1.0; 4]).view(), arr1(&[0.0; 4]).view(), 1e-5)?;
    let x = Array3::from_shape_fn((2, 3, 4), |(b, t, c)| (b * 12 + t * 4 + c) as f32);
    let y = norm.forward(x.view())?;
    // The rows differ by a shift alone, which normalisation takes away.
    let first = y.slice(s![0, 0, ..]);
    assert!(y.rows().into_iter().all(|row| row == first));
    println!("layernorm: {first}");
    Ok(())
}
