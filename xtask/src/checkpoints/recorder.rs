//! What our own code offers a probe, kept as a trace.

use llorch_model::Probe;
use llorch_parity::{Trace, TraceError};
use ndarray::ArrayViewD;

/// A probe that puts the sites it is asked for into a trace, under `{call}/{site}`.
pub struct Recorder<F> {
    wanted: F,
    call: usize,
    trace: Trace,
    twice: Option<TraceError>,
}

impl<F: Fn(&str) -> bool> Recorder<F> {
    /// Keeps the tensors whose full name `wanted` says yes to.
    pub fn new(wanted: F) -> Self {
        Recorder {
            wanted,
            call: 0,
            trace: Trace::new(),
            twice: None,
        }
    }

    /// What follows belongs to this call.
    pub fn call(&mut self, call: usize) -> &mut Self {
        self.call = call;
        self
    }

    /// The trace.
    ///
    /// # Errors
    /// Where a site was offered twice in one call.
    pub fn finish(self) -> Result<Trace, TraceError> {
        self.twice.map_or(Ok(self.trace), Err)
    }

    fn name(&self, site: &str) -> String {
        format!("{}/{site}", self.call)
    }
}

impl<F: Fn(&str) -> bool> Probe for Recorder<F> {
    fn wants(&self, site: &str) -> bool {
        (self.wanted)(&self.name(site))
    }

    fn record(&mut self, site: &str, values: ArrayViewD<f32>) {
        let name = self.name(site);
        if let Err(twice) = self.trace.insert(name, values) {
            self.twice.get_or_insert(twice);
        }
    }
}
