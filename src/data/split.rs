//! Training and test patients: by patient, stratified by class, seeded.
