import com.google.protobuf.Duration
import io.grpc.*
import java.util.UUID
import java.util.concurrent.TimeUnit.SECONDS
import noted.v1.DedupeServiceGrpc
import noted.v1.Noted.*

fun main() {
    val address = System.getenv("NOTED_ADDR") ?: "127.0.0.1:50051"
    val channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build()
    val noted = DedupeServiceGrpc.newBlockingStub(channel)
    val donation = Donation.newBuilder().setSeriesId("I-KOTLIN").setAmount("25.00").setCurrencyCode("EUR")
    val request = NoteDonationRequest.newBuilder().setDonation(donation).setHold(Duration.newBuilder().setSeconds(60))
        .setRequestId(UUID.randomUUID().toString()).build()
    val answer = noted.withDeadlineAfter(3, SECONDS).noteDonation(request)
    println(answer.verdict)
    if (answer.verdict == Verdict.VERDICT_FIRST) { // book it under answer.note.donationId, and then
        val settle = SettleDonationRequest.newBuilder().setReceipt(answer.receipt).build()
        noted.withDeadlineAfter(3, SECONDS).settleDonation(settle)
    }
    channel.shutdownNow()
}
