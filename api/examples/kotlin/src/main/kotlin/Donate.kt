import io.grpc.Grpc
import io.grpc.InsecureChannelCredentials
import java.util.UUID
import java.util.concurrent.TimeUnit.SECONDS
import noted.v1.DedupeServiceGrpc
import noted.v1.Noted.*

val address = System.getenv("NOTED_ADDR") ?: "127.0.0.1:50051"

fun main() {
    val channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build()
    val noted = DedupeServiceGrpc.newBlockingStub(channel)
    val request = NoteDonationRequest.newBuilder().setRequestId(UUID.randomUUID().toString())
    request.donationBuilder.setSeriesId("I-KOTLIN").setAmount("25.00").setCurrencyCode("EUR")
    request.holdBuilder.seconds = 60
    val answer = noted.withDeadlineAfter(3, SECONDS).noteDonation(request.build())
    println(answer.verdict)
    if (answer.verdict == Verdict.VERDICT_FIRST) { // book it under answer.note.donationId, then
        val settle = SettleDonationRequest.newBuilder().setReceipt(answer.receipt)
        noted.withDeadlineAfter(3, SECONDS).settleDonation(settle.build())
    }
    channel.shutdownNow()
}
