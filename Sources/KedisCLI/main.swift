print("kedis")
