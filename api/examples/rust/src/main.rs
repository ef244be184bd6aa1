use std::{env, error::Error, time::Duration};

use noted::{dedupe_service_client::DedupeServiceClient, *};
use tonic::transport::Endpoint;
use uuid::Uuid;

mod noted {
    tonic::include_proto!("noted.v1");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::var("NOTED_ADDR").unwrap_or("127.0.0.1:50051".into());
    let endpoint = Endpoint::new(format!("http://{address}"))?.timeout(Duration::from_secs(3));
    let mut noted = DedupeServiceClient::connect(endpoint).await?;
    let [series_id, amount, currency_code] = ["I-RUST", "25.00", "EUR"].map(String::from);
    let donation = Some(Donation { series_id, amount, currency_code, ..Default::default() });
    let hold = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request_id = Uuid::new_v4().to_string();
    let request = NoteDonationRequest { donation, hold, request_id, ..Default::default() };
    let answer = noted.note_donation(request).await?.into_inner();
    println!("{}", answer.verdict().as_str_name()); // if FIRST, book it under note.donation_id, and then
    if answer.verdict() == Verdict::First {
        noted.settle_donation(SettleDonationRequest { receipt: answer.receipt, ..Default::default() }).await?;
    }
    Ok(())
}
