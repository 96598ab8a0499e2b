//! kyro-http
fn main() {}
