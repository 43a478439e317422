//! The loops of `phase6 serve`: orchestrator (gates), scheduler, worker, monitor, HTTP door. Each is a pure decision and a small
//! loop around it; they meet only on the bus and in the state store, so that any number of copies may run.
