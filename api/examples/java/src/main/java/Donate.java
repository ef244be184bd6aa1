import static java.util.concurrent.TimeUnit.SECONDS;

import com.google.protobuf.Duration;
import io.grpc.*;
import noted.v1.*;
import noted.v1.Noted.*;

public class Donate {
    public static void main(String[] arguments) {
        var address = System.getenv().getOrDefault("NOTED_ADDR", "127.0.0.1:50051");
        var channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
        var noted = DedupeServiceGrpc.newBlockingStub(channel);
        var donation = Donation.newBuilder().setSeriesId("I-JAVA").setAmount("25.00").setCurrencyCode("EUR");
        var request = NoteDonationRequest.newBuilder().setDonation(donation).setHold(Duration.newBuilder().setSeconds(60))
            .setRequestId(java.util.UUID.randomUUID().toString()).build();
        var answer = noted.withDeadlineAfter(3, SECONDS).noteDonation(request);
        System.out.println(answer.getVerdict());
        if (answer.getVerdict() == Verdict.VERDICT_FIRST) { // book it under answer.getNote().getDonationId(), and then
            var settle = SettleDonationRequest.newBuilder().setReceipt(answer.getReceipt()).build();
            noted.withDeadlineAfter(3, SECONDS).settleDonation(settle);
        }
        channel.shutdownNow();
    }
}
