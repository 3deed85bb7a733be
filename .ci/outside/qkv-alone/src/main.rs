use llorch_qkv::Qkv;
use llorch_qkv::ndarray::{Array1, Array2, Array3, Axis, concatenate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // W = [1 | 2 | 3] times the identity: q, k and v are x, 2x and 3x.
    let eye = Array2::<f32>::eye(6);
    let (two, three) = (&eye * 2.0, &eye * 3.0);
    let weight = concatenate(Axis(1), &[eye.view(), two.view(), three.view()])?;
    let qkv = Qkv::new(weight.view(), Array1::zeros(18).view(), 3)?;
    let x = Array3::from_shape_fn((2, 4, 6), |(b, t, c)| (b * 24 + t * 6 + c) as f32);
    let heads = qkv.forward(x.view())?;
    assert_eq!(heads.q.dim(), (2, 4, 3, 2));
    assert_eq!(heads.k, &heads.q * 2.0);
    assert_eq!(heads.v, &heads.q * 3.0);
    println!("qkv: {:?}", heads.q.dim());
    Ok(())
}
