require "securerandom"
require "noted/v1/noted_services_pb"
include Noted::V1

noted = DedupeService::Stub.new(ENV.fetch("NOTED_ADDR", "127.0.0.1:50051"), :this_channel_is_insecure, timeout: 3)
donation = Donation.new(series_id: "I-RUBY", amount: "25.00", currency_code: "EUR")
request = NoteDonationRequest.new(donation: donation, hold: {seconds: 60}, request_id: SecureRandom.hex)
answer = noted.note_donation(request)
puts answer.verdict
if answer.verdict == :VERDICT_FIRST # book it, with answer.note.donation_id as the idempotency key, and then
  noted.settle_donation(SettleDonationRequest.new(receipt: answer.receipt))
end
