//! A constant answer from the same actix-web, for the limit of the framework on this machine. scripts/bench reports the
//! server's rates as parts of this limit. `bench-hello ADDRESS`

use actix_web::{App, HttpResponse, HttpServer, web};

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.ok_or_else(|| anyhow::anyhow!("usage: bench-hello ADDRESS"))?;
    let hello = || async { HttpResponse::Ok().body("hello") };
    HttpServer::new(move || App::new().default_service(web::to(hello)))
        .bind(address)?
        .run()
        .await?;
    Ok(())
}
