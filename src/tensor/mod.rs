//! Dense f32 arrays and the pool their buffers come from; the only place where shapes are checked.
