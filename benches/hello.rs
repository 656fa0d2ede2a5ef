//! The ceiling of the framework on a machine: the same actix-web with a constant answer. `bench-hello ADDRESS`
//!
//! What scripts/bench measures of the server is told as a part of this.

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
