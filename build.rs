//! Link arguments of the addon; nothing else happens at build time.

fn main() {
    #[cfg(feature = "node")]
    napi_build::setup();
}
