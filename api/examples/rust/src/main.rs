mod noted {
    tonic::include_proto!("noted.v1");
}
use noted::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::var("NOTED_ADDR").unwrap_or("127.0.0.1:50051".into());
    let channel = tonic::transport::Endpoint::new(format!("http://{address}"))?.timeout(std::time::Duration::from_secs(3));
    let mut noted = dedupe_service_client::DedupeServiceClient::new(channel.connect().await?);
    let donation = Donation {
        series_id: "I-RUST".into(),
        amount: "25.00".into(),
        currency_code: "EUR".into(),
        ..Default::default()
    };
    let hold = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request_id = uuid::Uuid::new_v4().to_string();
    let request = NoteDonationRequest { donation: Some(donation), hold, request_id, ..Default::default() };
    let answer = noted.note_donation(request).await?.into_inner();
    println!("{}", answer.verdict().as_str_name());
    if answer.verdict() == Verdict::First {
        // Book it, with the note's donation_id as the idempotency key, and then:
        noted.settle_donation(SettleDonationRequest { receipt: answer.receipt, ..Default::default() }).await?;
    }
    Ok(())
}
