use llorch_attention::Attention;
use llorch_attention::ndarray::{Array1, Array2, Array4};
use llorch_attention::numerics::{Cpu, KvPanels};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let attention = Attention::new(Array2::eye(6).view(), Array1::zeros(6).view(), 2)?;
    let q = Array4::from_elem((1, 3, 2, 3), 0.0);
    let v = Array4::from_shape_fn((1, 3, 2, 3), |(_, t, h, d)| (t * 6 + h * 3 + d) as f32);
    let mut panels = KvPanels::new(1, 3, 2, 3)?;
    panels.append(&Cpu::default(), q.view(), v.view())?;
    let out = attention.forward(q.view(), &panels, &mut ())?;
    // Queries of nothing weigh all that they see alike: the last row is the mean of all values.
    assert_eq!(out[[0, 2, 0]], 6.0);
    println!("attention: {out}");
    Ok(())
}
