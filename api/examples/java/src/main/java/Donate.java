import static java.util.concurrent.TimeUnit.SECONDS;

import io.grpc.*;
import java.util.UUID;
import noted.v1.*;
import noted.v1.Noted.*;

public class Donate {
  static final String ADDRESS = System.getenv().getOrDefault("NOTED_ADDR", "127.0.0.1:50051");

  public static void main(String[] arguments) {
    var channel = Grpc.newChannelBuilder(ADDRESS, InsecureChannelCredentials.create()).build();
    var noted = DedupeServiceGrpc.newBlockingStub(channel);
    var request = NoteDonationRequest.newBuilder().setRequestId(UUID.randomUUID().toString());
    request.getDonationBuilder().setSeriesId("I-JAVA").setAmount("25.00").setCurrencyCode("EUR");
    request.getHoldBuilder().setSeconds(60);
    var answer = noted.withDeadlineAfter(3, SECONDS).noteDonation(request.build());
    System.out.println(answer.getVerdict());
    if (answer.getVerdict() == Verdict.VERDICT_FIRST) { // book it under note.donation_id, then
      var settle = SettleDonationRequest.newBuilder().setReceipt(answer.getReceipt());
      noted.withDeadlineAfter(3, SECONDS).settleDonation(settle.build());
    }
    channel.shutdownNow();
  }
}
