fn main() {
    let api = std::env::var("NOTED").unwrap() + "/api";
    tonic_prost_build::configure()
        .build_server(false)
        .compile_protos(&[format!("{api}/noted/v1/noted.proto")], &[api])
        .unwrap();
}
