use llorch_kv_cache::KvCache;
use llorch_kv_cache::ndarray::Array4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut cache = KvCache::new(2, 4, 3, 5)?;
    let k = Array4::from_shape_fn((2, 3, 3, 5), |(b, t, h, d)| {
        (b * 45 + t * 15 + h * 5 + d) as f32
    });
    let v = -&k;
    cache.append(k.view(), v.view())?;
    assert_eq!((cache.keys(), cache.values()), (k.clone(), v.clone()));
    let full = cache.append(k.view(), v.view()).unwrap_err();
    assert_eq!(cache.len(), 3);
    println!("kv-cache: {full}");
    Ok(())
}
