//! Hudsucker as a proxy that sets a header: `hudsucker-bench PORT FOLDER`. `BENCH_ROOT` has the upstream's root,
//! `BENCH_TOKEN` the token.
use std::{env, fs, net::SocketAddr};

use hudsucker::{
    Body, HttpContext, HttpHandler, Proxy, RequestOrResponse,
    certificate_authority::RcgenAuthority,
    hyper::{Request, header::{AUTHORIZATION, HeaderValue}},
    rcgen::{Issuer, KeyPair},
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, pem::PemObject},
    },
};

#[derive(Clone)]
struct SetsHeader(HeaderValue);

impl HttpHandler for SetsHeader {
    async fn handle_request(&mut self, _: &HttpContext, mut request: Request<Body>) -> RequestOrResponse {
        request.headers_mut().insert(AUTHORIZATION, self.0.clone());
        request.into()
    }
}

#[tokio::main]
async fn main() {
    let port: u16 = env::args().nth(1).expect("PORT").parse().expect("a port");
    let folder = env::args().nth(2).expect("FOLDER");
    let read = |name: &str| fs::read_to_string(format!("{folder}/{name}")).expect("a file of the authority");
    let key = KeyPair::from_pem(&read("ca.key")).expect("the key");
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).expect("the certificate");
    let ca = RcgenAuthority::new(issuer, 1_000, aws_lc_rs::default_provider());

    let mut roots = RootCertStore::empty();
    let root = env::var("BENCH_ROOT").expect("BENCH_ROOT");
    for each in CertificateDer::pem_file_iter(root).expect("the root") {
        roots.add(each.expect("a certificate")).expect("a root");
    }
    let tls = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();

    let token = env::var("BENCH_TOKEN").expect("BENCH_TOKEN");
    Proxy::builder()
        .with_addr(SocketAddr::from(([127, 0, 0, 1], port)))
        .with_ca(ca)
        .with_http_connector(connector)
        .with_http_handler(SetsHeader(format!("Bearer {token}").parse().expect("a header")))
        .build()
        .expect("the proxy")
        .start()
        .await
        .expect("it serves");
}
