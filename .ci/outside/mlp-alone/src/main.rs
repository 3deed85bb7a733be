use llorch_mlp::ndarray::{Array1, Array2, Array3};
use llorch_mlp::{Activation, Mlp};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (eye, zeros) = (Array2::eye(4), Array1::zeros(4));
    let (weight, bias) = (eye.view(), zeros.view());
    let mlp = Mlp::new(weight, bias, weight, bias, Activation::Relu)?;
    let x = Array3::from_shape_fn((1, 2, 4), |(_, t, c)| t as f32 * 4.0 + c as f32 - 3.0);
    let y = mlp.forward(x.view(), &mut ())?;
    assert_eq!(y, x.mapv(|x| x.max(0.0)));
    println!("mlp: {y}");
    Ok(())
}
